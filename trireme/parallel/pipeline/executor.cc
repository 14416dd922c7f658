#include "trireme/parallel/pipeline/executor.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <chrono>

#include "trireme/base/error.h"
#include "trireme/nn/tape.h"
#include "trireme/parallel/pipeline/messages.h"
#include "trireme/parallel/pipeline/validate.h"

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Puts the Params' weight gradients off while it lives.
class PutOff {
 public:
  PutOff(const std::vector<nn::Param*>& params, nn::WeightQueue& queue) : params_(params) {
    for (nn::Param* param : params_) param->weight_queue = &queue;
  }
  ~PutOff() {
    for (nn::Param* param : params_) param->weight_queue = nullptr;
  }
  PutOff(const PutOff&) = delete;
  PutOff& operator=(const PutOff&) = delete;

 private:
  const std::vector<nn::Param*>& params_;
};

// Every rank in the order of the waves m + c: a micro-batch's chunk c comes a wave after c - 1, so
// nobody waits in a circle.
Schedule forward_schedule(const std::vector<int>& rank_of_chunk, int micro_batches, int ranks) {
  Schedule schedule{"forward", micro_batches, rank_of_chunk, {}};
  schedule.actions.resize(static_cast<size_t>(ranks));
  const int chunks = schedule.chunks();
  for (int wave = 0; wave < micro_batches + chunks - 1; ++wave) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int m = wave - chunk;
      if (m < 0 || m >= micro_batches) continue;
      const auto rank = static_cast<size_t>(rank_of_chunk[static_cast<size_t>(chunk)]);
      schedule.actions[rank].push_back({kForward, m, chunk});
    }
  }
  return with_messages(std::move(schedule));
}

}  // namespace

Executor::Executor(const nn::Chain& chain, const std::vector<ChunkPart>& parts, comm::Group& group,
                   const ExecutorOptions& options)
    : chain_(chain), group_(group), options_(options) {
  for (const ChunkPart& part : parts) {
    if (part.begin >= part.end || part.end > chain.size()) {
      throw input_error("pipeline chunk ", part.chunk, " has units ", part.begin, " to ", part.end,
                        " of a model of ", chain.size());
    }
    parts_.push_back({part, nn::params_once(chain.units(part.begin, part.end))});
  }
}

void Executor::check(const Schedule& schedule, size_t micro_batches) const {
  if (schedule.stages() != group_.size()) {
    throw input_error("pipeline schedule ", schedule.name, " is for ", schedule.stages(),
                      " ranks, and there are ", group_.size());
  }
  if (static_cast<size_t>(schedule.micro_batches) != micro_batches) {
    throw input_error("pipeline schedule ", schedule.name, " is for ", schedule.micro_batches,
                      " micro-batches, and the step has ", micro_batches);
  }
  std::vector<int> mine;
  for (const Part& part : parts_) mine.push_back(part.chunk.chunk);
  if (schedule.chunks_of(group_.rank()) != mine) {
    throw input_error("pipeline schedule ", schedule.name, " places other chunks on rank ",
                      group_.rank(), " than it holds");
  }
}

StepLosses Executor::run_step(const Schedule& schedule, std::span<const MicroBatch> micro_batches) {
  check(schedule, micro_batches.size());
  validate(schedule);
  const Schedule complete = with_messages(schedule);
  validate(complete);
  const at::AutoGradMode grad_mode(true);
  losses_.assign(micro_batches.size(), at::Tensor());
  for (const Part& part : parts_) {
    if (part.chunk.engine != nullptr) part.chunk.engine->begin_step(schedule.micro_batches);
  }
  try {
    run(complete, micro_batches);
  } catch (...) {
    abandon();
    throw;
  }
  StepLosses losses;
  for (const at::Tensor& loss : losses_) {
    if (!loss.defined()) continue;
    losses.by_micro_batch.push_back(loss.item<double>());
    losses.sum += losses.by_micro_batch.back();
  }
  losses_.clear();
  return losses;
}

void Executor::run_forward(const std::vector<int>& rank_of_chunk,
                           std::span<const MicroBatch> micro_batches,
                           const std::function<void(int, const at::Tensor&)>& on_output) {
  const Schedule schedule =
      forward_schedule(rank_of_chunk, static_cast<int>(micro_batches.size()), group_.size());
  check(schedule, micro_batches.size());
  const at::NoGradGuard no_grad;
  on_output_ = &on_output;
  try {
    run(schedule, micro_batches);
  } catch (...) {
    on_output_ = nullptr;
    slots_.clear();
    sends_.clear();
    throw;
  }
  on_output_ = nullptr;
}

void Executor::run(const Schedule& schedule, std::span<const MicroBatch> micro_batches) {
  timeline_.clear();
  for (const Action& action : schedule.actions[static_cast<size_t>(group_.rank())]) {
    act(schedule, action, micro_batches[static_cast<size_t>(action.micro_batch)]);
    finish_sends(/*all=*/false);
  }
  finish_sends(/*all=*/true);
  slots_.clear();
}

void Executor::act(const Schedule& schedule, const Action& action, const MicroBatch& micro_batch) {
  Slot& slot = slot_of(action);
  // The gradient's receive may be posted before forward.
  if (action.kind == kForward && slot.input_arrives) {
    std::exchange(slot.input_arrives, nullptr)->wait();
  }
  if (makes_input_gradient(action.kind) && slot.gradient_arrives) {
    std::exchange(slot.gradient_arrives, nullptr)->wait();
  }
  TimedAction timed{action, now_s(), 0};
  switch (action.kind) {
    case kForward:
      forward(schedule, action, micro_batch);
      break;
    case kBackward:
    case kBackwardInput:
      backward(schedule, action);
      break;
    case kBackwardWeight:
      weights(action);
      break;
    case kSendForward:
    case kSendBackward:
      send(schedule, action);
      break;
    default:
      receive(schedule, action, micro_batch.rows);
  }
  timed.end = now_s();
  timeline_.push_back(timed);
}

void Executor::forward(const Schedule& schedule, const Action& action,
                       const MicroBatch& micro_batch) {
  Slot& slot = slot_of(action);
  const ChunkPart& part = part_of(action.chunk).chunk;
  const bool gradients = at::GradMode::is_enabled();
  if (action.chunk == 0) {
    slot.input = nn::graph_root();
  } else {
    slot.input.requires_grad_(gradients);
  }
  nn::Context context = micro_batch.context;
  if (part.engine != nullptr) context.hooks = part.engine;
  at::Tensor output = chain_.run(part.begin, part.end, slot.input, context);
  if (action.chunk + 1 == schedule.chunks()) {
    if (on_output_ != nullptr) {
      (*on_output_)(action.micro_batch, output);
    } else {
      slot.output = micro_batch.loss(output, context);
      losses_[static_cast<size_t>(action.micro_batch)] = slot.output.detach();
    }
  } else {
    if (output.dim() != 2 || output.size(0) != micro_batch.rows ||
        output.size(1) != options_.width || output.scalar_type() != options_.dtype) {
      throw run_error("pipeline chunk ", action.chunk, " gave ",
                      c10::toString(output.scalar_type()), " of ", c10::str(output.sizes()),
                      ", and [", micro_batch.rows, ", ", options_.width, "] of ",
                      c10::toString(options_.dtype), " was to come");
    }
    if (here(schedule, action.chunk + 1)) {
      slots_[{action.micro_batch, action.chunk + 1}].input = output.detach();
    }
    slot.output = std::move(output);
  }
  if (!gradients) slot.input = at::Tensor();
}

void Executor::backward(const Schedule& schedule, const Action& action) {
  Slot& slot = slot_of(action);
  const Part& part = part_of(action.chunk);
  {
    std::optional<PutOff> put_off;
    if (action.kind == kBackwardInput) put_off.emplace(part.params, slot.weights);
    torch::autograd::backward({std::exchange(slot.output, {})},
                              {std::exchange(slot.output_gradient, {})});
  }
  const at::Tensor input = std::exchange(slot.input, {});
  if (action.chunk > 0) {
    // No parameter before it is trained, maybe; the ranks before count on a message all the same.
    at::Tensor gradient = input.grad().defined() ? input.grad() : at::zeros_like(input);
    if (here(schedule, action.chunk - 1)) {
      slots_[{action.micro_batch, action.chunk - 1}].output_gradient = std::move(gradient);
    } else {
      slot.input_gradient = std::move(gradient);
    }
  }
  if (action.kind == kBackward) end_micro_batch(part);
}

void Executor::weights(const Action& action) {
  const at::NoGradGuard no_grad;
  slot_of(action).weights.run();
  end_micro_batch(part_of(action.chunk));
}

void Executor::end_micro_batch(const Part& part) const {
  if (part.chunk.engine != nullptr) part.chunk.engine->end_micro_batch();
}

void Executor::send(const Schedule& schedule, const Action& action) {
  Slot& slot = slot_of(action);
  const bool forward = action.kind == kSendForward;
  at::Tensor buffer =
      (forward ? slot.output.detach() : std::exchange(slot.input_gradient, {})).contiguous();
  if (forward && on_output_ != nullptr) slot.output = at::Tensor();
  auto work = group_.send(buffer, peer_of(schedule, action), action_text(action, true));
  sends_.push_back({std::move(buffer), std::move(work)});
}

void Executor::receive(const Schedule& schedule, const Action& action, int64_t rows) {
  Slot& slot = slot_of(action);
  at::Tensor buffer = at::empty({rows, options_.width}, options_.dtype);
  // Both ends say what the sender sends.
  const std::string tag = action_text(other_end(action), true);
  auto work = group_.recv(buffer, peer_of(schedule, action), tag);
  if (action.kind == kRecvForward) {
    slot.input = std::move(buffer);
    slot.input_arrives = std::move(work);
  } else {
    slot.output_gradient = std::move(buffer);
    slot.gradient_arrives = std::move(work);
  }
}

void Executor::finish_sends(bool all) {
  for (auto it = sends_.begin(); it != sends_.end();) {
    if (!all && !it->work->done()) {
      ++it;
      continue;
    }
    it->work->wait();
    it = sends_.erase(it);
  }
}

void Executor::abandon() {
  slots_.clear();
  sends_.clear();
  losses_.clear();
  for (const Part& part : parts_) {
    if (part.chunk.engine != nullptr) part.chunk.engine->abandon_step();
    for (nn::Param* param : part.params) param->reset_ready();
  }
}

Executor::Part& Executor::part_of(int chunk) {
  return *std::find_if(parts_.begin(), parts_.end(),
                       [chunk](const Part& part) { return part.chunk.chunk == chunk; });
}

bool Executor::here(const Schedule& schedule, int chunk) const {
  return schedule.rank_of_chunk[static_cast<size_t>(chunk)] == group_.rank();
}

}  // namespace trireme::parallel::pipeline
