#include "trireme/comm/shm_collective.h"

#include <algorithm>
#include <cstring>

#include "trireme/kernels/reduce.h"

namespace trireme::comm {

using shm::Act;
using shm::Form;
using shm::Range;

void ShmGroupState::publish(shm::Counter& counter, uint64_t value, int only_peer) const {
  // Sequentially consistent with a sleeper's note that it sleeps: one of the two sees the other.
  counter.value.store(value, std::memory_order_seq_cst);
  for (size_t r = 0; r < bells.size(); ++r) {
    if (bells[r] != nullptr && (only_peer < 0 || static_cast<size_t>(only_peer) == r)) {
      ring(*bells[r]);
    }
  }
}

uint64_t announced_bytes(const ShmCall& call, int ranks) {
  const bool parts = call.kind == ShmKind::kReduceScatter || call.kind == ShmKind::kAllGather ||
                     call.kind == ShmKind::kAllToAll;
  return static_cast<uint64_t>(call.numel) * c10::elementSize(call.dtype) *
         (parts ? static_cast<uint64_t>(ranks) : 1);
}

namespace {

shm::Post make_post(const ShmGroupState& group, const ShmCall& call, uint64_t seq) {
  shm::Post post{};
  post.seq = seq;
  post.bytes = announced_bytes(call, group.size());
  post.kind = static_cast<int32_t>(call.kind);
  post.dtype = static_cast<int32_t>(call.dtype);
  post.op = static_cast<int32_t>(call.op);
  post.root = call.root;
  return post;
}

bool same_call(const shm::Post& a, const shm::Post& b) {
  return a.seq == b.seq && a.bytes == b.bytes && a.kind == b.kind && a.dtype == b.dtype &&
         a.op == b.op && a.root == b.root;
}

}  // namespace

ShmCollective::ShmCollective(std::shared_ptr<ShmGroupState> group, const ShmCall& call)
    : group_(std::move(group)),
      call_(call),
      element_(static_cast<int64_t>(c10::elementSize(call.dtype))) {
  const int64_t staged = pieces() ? group_->size() * call_.numel : call_.numel;
  const auto stage_elements = static_cast<int64_t>(shm::kStageBytes) / element_;
  const bool small = staged * element_ <= group_->small_bytes;
  form_ = small                               ? Form::kSmall
          : call_.kind == ShmKind::kAllReduce ? Form::kStagedTwice
                                              : Form::kStaged;
  chunk_elements_ = pieces() ? stage_elements / group_->size() : stage_elements;
  if (!small) chunks_ = (call_.numel + chunk_elements_ - 1) / chunk_elements_;
}

bool ShmCollective::pieces() const {
  return call_.kind == ShmKind::kReduceScatter || call_.kind == ShmKind::kAllToAll;
}

bool ShmCollective::peers_have_finished(int64_t steps) const {
  const uint64_t target = group_->base + static_cast<uint64_t>(steps);
  for (size_t r = 0; r < group_->blocks.size(); ++r) {
    if (group_->bells[r] == nullptr) continue;
    if (group_->blocks[r]->progress.value.load(std::memory_order_seq_cst) < target) return false;
  }
  return true;
}

ShmTask::Progress ShmCollective::advance() {
  auto progress = Progress::kNone;
  while (peers_have_finished(step_)) {
    if (step_ == 0) post();
    if (step_ == 1) meet();
    act(shm::step(form_, step_));
    ++step_;
    if (step_ == shm::steps(form_, chunks_)) {
      group_->base += static_cast<uint64_t>(step_ - 1);
      group_->half += static_cast<uint64_t>(shm::halves(form_, chunks_));
      return Progress::kOver;
    }
    group_->publish(group_->mine().progress, group_->base + static_cast<uint64_t>(step_));
    progress = Progress::kSome;
  }
  return progress;
}

void ShmCollective::post() {
  const uint64_t seq = ++group_->collectives;
  shm::Post post = make_post(*group_, call_, seq);
  // Small operations are staged, wherever they lie.
  if (form_ != Form::kSmall) {
    if (const auto place = group_->arena->locate(call_.in)) {
      post.in_arena = 1;
      post.segment = place->segment;
      post.offset = place->offset;
    }
  }
  group_->mine().posts[seq % shm::kPosts] = post;
}

void ShmCollective::meet() {
  const uint64_t place = group_->collectives % shm::kPosts;
  const shm::Post& mine = group_->mine().posts[place];
  bool all_in_arena = form_ != Form::kSmall;
  for (int r = 0; r < group_->size(); ++r) {
    const shm::Post& theirs = group_->blocks[static_cast<size_t>(r)]->posts[place];
    if (!same_call(mine, theirs)) throw ShmMismatch("ranks are in different operations");
    const bool read_by_others = call_.kind != ShmKind::kBroadcast || r == call_.root;
    all_in_arena = all_in_arena && (theirs.in_arena != 0 || !read_by_others);
  }
  if (all_in_arena) form_ = Form::kDirect;
}

void ShmCollective::act(const shm::Step& step) {
  switch (step.act) {
    case Act::kNothing:
      return;
    case Act::kPut:
      return put(0);
    case Act::kDirect:
      return direct();
    case Act::kCombine:
      return combine(step.chunk);
    case Act::kTakeAndPut:
      take(step.chunk);
      if (step.chunk + 1 < chunks_) put(step.chunk + 1);
  }
}

Range ShmCollective::chunk_range(int64_t chunk) const {
  if (form_ == Form::kSmall) return {0, call_.numel};
  return {chunk * chunk_elements_, std::min(call_.numel, (chunk + 1) * chunk_elements_)};
}

std::byte* ShmCollective::stage(int rank, int64_t chunk) const {
  return group_->blocks[static_cast<size_t>(rank)]->stage(
      group_->size(), group_->half + static_cast<uint64_t>(chunk));
}

void ShmCollective::copy(std::byte* to, const std::byte* from, int64_t elements) const {
  if (to != from && elements > 0) std::memcpy(to, from, bytes(elements));
}

void ShmCollective::reduce(const std::vector<const void*>& from, const std::vector<void*>& to,
                           int64_t n) const {
  if (n > 0) {
    kernels::reducer(call_.dtype)(call_.op, from.data(), static_cast<int>(from.size()), to.data(),
                                  static_cast<int>(to.size()), n);
  }
}

// What others will take of this rank's values. In the two forms that leave a slice to its owner,
// that slice is not staged: the owner takes it from its own buffer.
void ShmCollective::put(int64_t chunk) {
  std::byte* staged = stage(group_->rank, chunk);
  const auto [begin, end] = chunk_range(chunk);
  const int64_t n = end - begin;
  if (call_.kind == ShmKind::kBroadcast && call_.root != group_->rank) return;
  if (pieces()) {
    for (int r = 0; r < group_->size(); ++r) {
      if (r == group_->rank) continue;
      copy(staged + bytes(r * n), call_.in + bytes(r * call_.numel + begin), n);
    }
    return;
  }
  if (form_ != Form::kStagedTwice) return copy(staged, call_.in + bytes(begin), n);
  for (int r = 0; r < group_->size(); ++r) {
    if (r == group_->rank) continue;
    const Range s = shm::slice(n, group_->size(), r, 64 / element_);
    copy(staged + bytes(s.begin), call_.in + bytes(begin + s.begin), s.size());
  }
}

void ShmCollective::combine(int64_t chunk) {
  const auto [begin, end] = chunk_range(chunk);
  const Range s = shm::slice(end - begin, group_->size(), group_->rank, 64 / element_);
  std::vector<const void*> from;
  for (int r = 0; r < group_->size(); ++r) {
    from.push_back(r == group_->rank ? call_.in + bytes(begin + s.begin)
                                     : stage(r, chunk) + bytes(s.begin));
  }
  reduce(from, {call_.out + bytes(begin + s.begin), stage(group_->rank, chunk) + bytes(s.begin)},
         s.size());
}

void ShmCollective::take(int64_t chunk) {
  const auto [begin, end] = chunk_range(chunk);
  const int64_t n = end - begin;
  const int size = group_->size(), me = group_->rank;
  switch (call_.kind) {
    case ShmKind::kAllReduce:
      if (form_ == Form::kSmall) {
        std::vector<const void*> from;
        for (int r = 0; r < size; ++r) from.push_back(stage(r, chunk));
        return reduce(from, {call_.out}, n);
      }
      for (int i = 1; i < size; ++i) {
        const int r = (me + i) % size;  // each begins with another
        const Range s = shm::slice(n, size, r, 64 / element_);
        copy(call_.out + bytes(begin + s.begin), stage(r, chunk) + bytes(s.begin), s.size());
      }
      return;
    case ShmKind::kReduceScatter: {
      std::vector<const void*> from;
      for (int r = 0; r < size; ++r) {
        from.push_back(r == me ? call_.in + bytes(me * call_.numel + begin)
                               : stage(r, chunk) + bytes(me * n));
      }
      return reduce(from, {call_.out + bytes(begin)}, n);
    }
    case ShmKind::kAllGather:
      for (int i = 0; i < size; ++i) {
        const int r = (me + i) % size;
        copy(call_.out + bytes(r * call_.numel + begin),
             r == me ? call_.in + bytes(begin) : stage(r, chunk), n);
      }
      return;
    case ShmKind::kBroadcast:
      if (me != call_.root) copy(call_.out + bytes(begin), stage(call_.root, chunk), n);
      return;
    case ShmKind::kAllToAll:
      for (int i = 0; i < size; ++i) {
        const int r = (me + i) % size;
        copy(call_.out + bytes(r * call_.numel + begin),
             r == me ? call_.in + bytes(me * call_.numel + begin) : stage(r, chunk) + bytes(me * n),
             n);
      }
      return;
    default:
      return;
  }
}

void ShmCollective::direct() {
  const int size = group_->size(), me = group_->rank;
  const uint64_t place = group_->collectives % shm::kPosts;
  const auto theirs = [&](int r) -> std::byte* {
    const shm::Post& post = group_->blocks[static_cast<size_t>(r)]->posts[place];
    return group_->arena->peer(group_->ranks[static_cast<size_t>(r)], {post.segment, post.offset});
  };
  const int64_t n = call_.numel;
  switch (call_.kind) {
    case ShmKind::kAllReduce: {
      const Range s = shm::slice(n, size, me, 64 / element_);
      std::vector<const void*> from;
      std::vector<void*> to;
      for (int r = 0; r < size; ++r) {
        to.push_back((r == me ? call_.out : theirs(r)) + bytes(s.begin));
        from.push_back(to.back());
      }
      return reduce(from, to, s.size());
    }
    case ShmKind::kReduceScatter: {
      std::vector<const void*> from;
      for (int r = 0; r < size; ++r) {
        from.push_back((r == me ? call_.in : theirs(r)) + bytes(me * n));
      }
      return reduce(from, {call_.out}, n);
    }
    case ShmKind::kAllGather:
      for (int i = 0; i < size; ++i) {
        const int r = (me + i) % size;
        copy(call_.out + bytes(r * n), r == me ? call_.in : theirs(r), n);
      }
      return;
    case ShmKind::kBroadcast:
      if (me != call_.root) copy(call_.out, theirs(call_.root), n);
      return;
    case ShmKind::kAllToAll:
      for (int i = 0; i < size; ++i) {
        const int r = (me + i) % size;
        copy(call_.out + bytes(r * n), (r == me ? call_.in : theirs(r)) + bytes(me * n), n);
      }
      return;
    default:
      return;
  }
}

ShmSend::ShmSend(std::shared_ptr<ShmGroupState> group, const ShmCall& call, ShmPlace place,
                 uint64_t seq)
    : group_(std::move(group)), call_(call), place_(place), seq_(seq) {}

ShmTask::Progress ShmSend::advance() {
  const uint64_t taken = group_->blocks[static_cast<size_t>(call_.root)]
                             ->taken(group_->size(), group_->rank)
                             .value.load(std::memory_order_seq_cst);
  if (sent_) return taken >= seq_ ? Progress::kOver : Progress::kNone;
  if (taken + shm::kMessages < seq_) return Progress::kNone;
  shm::Mailbox& mailbox = group_->mine().mailbox(call_.root);
  shm::Post post = make_post(*group_, call_, seq_);
  post.root = 0;
  post.segment = place_.segment;
  post.offset = place_.offset;
  mailbox.posts[seq_ % shm::kMessages] = post;
  group_->publish(mailbox.sent, seq_, call_.root);
  sent_ = true;
  return Progress::kSome;
}

ShmReceive::ShmReceive(std::shared_ptr<ShmGroupState> group, const ShmCall& call, uint64_t seq)
    : group_(std::move(group)), call_(call), seq_(seq) {}

ShmTask::Progress ShmReceive::advance() {
  shm::Mailbox& mailbox = group_->blocks[static_cast<size_t>(call_.root)]->mailbox(group_->rank);
  if (mailbox.sent.value.load(std::memory_order_seq_cst) < seq_) return Progress::kNone;
  const shm::Post& post = mailbox.posts[seq_ % shm::kMessages];
  shm::Post expected = make_post(*group_, call_, seq_);
  expected.root = 0;
  if (!same_call(post, expected)) throw ShmMismatch("the message is of another size or type");
  const std::byte* from = group_->arena->peer(group_->ranks[static_cast<size_t>(call_.root)],
                                              {post.segment, post.offset});
  if (call_.numel > 0) {
    std::memcpy(call_.out, from, static_cast<size_t>(announced_bytes(call_, group_->size())));
  }
  group_->publish(group_->mine().taken(group_->size(), call_.root), seq_, call_.root);
  return Progress::kOver;
}

}  // namespace trireme::comm
