#include "trireme/data/prepare.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "trireme/base/clock.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/json.h"
#include "trireme/data/token_shards.h"

namespace trireme::data {
namespace {

namespace fs = std::filesystem;

// Size and time of change of every input, as {"path": [bytes, nanoseconds]}.
Json describe_inputs(const std::vector<std::string>& files) {
  Json out = Json::object();
  for (const std::string& file : files) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) throw input_error(file, ": cannot be read");
    out[file] = {
        static_cast<int64_t>(status.st_size),
        static_cast<int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec};
  }
  return out;
}

// What must be the same for the output to go on.
Json describe_job(const PrepareOptions& options, const text::Tokenizer& tokenizer,
                  const std::string& tokenizer_id) {
  return {{"tokenizer", tokenizer_id},
          {"vocab_size", tokenizer.vocab_size()},
          {"format", static_cast<int64_t>(options.source.format)},
          {"text_unit", static_cast<int64_t>(options.source.text_unit)},
          {"json_key", options.json_key},
          {"end_token", options.end_token ? Json(*options.end_token) : Json()},
          {"inputs", describe_inputs(options.source.files)}};
}

// That nobody else works in the folder: two would write into each other's files.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder)
      : fd_(::open((folder + "/lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666)) {
    if (fd_ < 0) throw run_error(folder, ": cannot be written: ", std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    ::close(fd_);
    throw input_error(folder,
                      ": another `data prepare` is writing this output; wait for its end, "
                      "or give another PREFIX");
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

// PREFIX.partial: tokens and lengths grow, and state.json says how far both are meant; what stands
// behind that is cut off when the work goes on.
class PartialOutput {
 public:
  PartialOutput(const std::string& prefix, Json job)
      : prefix_(prefix), folder_(prefix + ".partial"), job_(std::move(job)) {}

  // Opens it, new or as it was left. True: it goes on.
  bool open(PrepareResult& result, DocumentPosition& position) {
    ensure_dir(folder_);
    lock_.emplace(folder_);
    const bool goes_on = file_exists(state_path());
    if (goes_on) {
      read_state(result, position);
    } else {
      for (const std::string& name : {tokens_path(), lengths_path()}) fs::remove(name);
    }
    // The data file may be in its place already, when a commit was cut short.
    if (!file_exists(tokens_path()) && token_bytes_ > 0 && file_exists(prefix_ + ".bin") &&
        static_cast<int64_t>(file_size_bytes(prefix_ + ".bin")) == token_bytes_) {
      rename_durable(prefix_ + ".bin", tokens_path());
    }
    cut(tokens_path(), token_bytes_);
    cut(lengths_path(), length_bytes_);
    tokens_.emplace(tokens_path());
    lengths_.emplace(lengths_path());
    return goes_on;
  }

  void add(std::string_view tokens, int32_t length) {
    tokens_->write(tokens);
    lengths_->write({reinterpret_cast<const char*>(&length), sizeof(length)});
    token_bytes_ += static_cast<int64_t>(tokens.size());
    length_bytes_ += static_cast<int64_t>(sizeof(length));
  }

  // From here a later call goes on.
  void save(const PrepareResult& result, const DocumentPosition& position) {
    if (tokens_) tokens_->sync();
    if (lengths_) lengths_->sync();
    write_file_atomic(state_path(),
                      dump_json({{"job", job_},
                                 {"position", {position.file, position.offset, position.line}},
                                 {"token_bytes", token_bytes_},
                                 {"length_bytes", length_bytes_},
                                 {"documents", result.documents},
                                 {"tokens", result.tokens},
                                 {"empty", result.empty},
                                 {"skipped", result.skipped},
                                 {"first_skipped", result.first_skipped}},
                                2) +
                          "\n");
  }

  // To PREFIX.bin and PREFIX.idx. The old index goes first: it must not speak of newer data.
  void commit(TokenType type) {
    tokens_.reset();
    lengths_.reset();
    const std::string index = prefix_ + ".idx", new_index = folder_ + "/index";
    {
      AtomicFile file(new_index);
      const MappedFile lengths(lengths_path());
      write_token_index(file, type,
                        {reinterpret_cast<const int32_t*>(lengths.bytes().data()),
                         lengths.size() / sizeof(int32_t)});
      file.commit();
    }
    std::error_code error;
    fs::remove(index, error);
    if (error) throw run_error(index, ": cannot be removed: ", error.message());
    rename_durable(tokens_path(), prefix_ + ".bin");
    rename_durable(new_index, index);
    remove();
  }

  // Leaves nothing behind when nothing was saved: there is nothing to go on from.
  void give_up() {
    if (!file_exists(state_path())) remove();
  }

 private:
  void remove() {
    std::error_code error;
    fs::remove(state_path(), error);  // first: without it the rest counts for nothing
    fs::remove_all(folder_, error);
    if (error) throw run_error(folder_, ": cannot be removed: ", error.message());
  }

  std::string state_path() const { return folder_ + "/state.json"; }
  std::string tokens_path() const { return folder_ + "/tokens"; }
  std::string lengths_path() const { return folder_ + "/lengths"; }

  void read_state(PrepareResult& result, DocumentPosition& position) {
    const std::string path = state_path();
    const Json state = read_json_file(path);
    check_job(require_object(state, "job", path));
    const Json& place = require_array(state, "position", path);
    if (place.size() != 3) throw input_error(path, ": position has not 3 numbers");
    position = {as_int(place[0], path), as_int(place[1], path), as_int(place[2], path)};
    token_bytes_ = require_int(state, "token_bytes", path);
    length_bytes_ = require_int(state, "length_bytes", path);
    result.documents = require_int(state, "documents", path);
    result.tokens = require_int(state, "tokens", path);
    result.empty = require_int(state, "empty", path);
    result.skipped = require_int(state, "skipped", path);
    result.first_skipped = require_string(state, "first_skipped", path);
  }

  void check_job(const Json& saved) const {
    const auto refuse = [this](const std::string& what) {
      return input_error(folder_, ": holds a half-made output, but ", what,
                         " since it was begun; remove the folder to begin again");
    };
    for (const auto& [key, value] : job_.items()) {
      if (saved.contains(key) && saved[key] == value) continue;
      if (key != "inputs") throw refuse(cat("'", key, "' is not what it was"));
      const Json& inputs = saved.contains(key) ? saved[key] : Json::object();
      for (const auto& [file, facts] : value.items()) {
        if (inputs.contains(file) && inputs[file] != facts) throw refuse(file + " has changed");
      }
      throw refuse("the list of input files has changed");
    }
  }

  static void cut(const std::string& path, int64_t bytes) {
    const int64_t there = file_exists(path) ? static_cast<int64_t>(file_size_bytes(path)) : 0;
    if (there < bytes)
      throw run_error(path, ": has ", there, " bytes, ", bytes,
                      " were written; remove the folder to begin again");
    if (there == bytes) return;
    std::error_code error;
    fs::resize_file(path, static_cast<uintmax_t>(bytes), error);
    if (error) throw run_error(path, ": cannot be shortened: ", error.message());
  }

  std::string prefix_, folder_;
  Json job_;
  int64_t token_bytes_ = 0, length_bytes_ = 0;
  std::optional<AppendFile> tokens_, lengths_;
  std::optional<FolderLock> lock_;
};

// A document in work, and what became of it.
struct Work {
  RawDocument raw;
  std::string tokens;   // as in the data file
  int32_t length = 0;   // in tokens; 0: no text
  std::string problem;  // what is wrong with it; empty: nothing
};

void tokenise(Work& work, const PrepareOptions& options, const text::Tokenizer& tokenizer,
              TokenType type) {
  const std::string& file = options.source.files[static_cast<size_t>(work.raw.file)];
  const int64_t line = work.raw.line;
  try {
    const std::string text = document_text(std::move(work.raw), file, options.json_key);
    std::vector<int32_t> ids = tokenizer.encode(text, {.add_special = false}).ids;
    if (ids.empty()) return;
    if (options.end_token) ids.push_back(*options.end_token);
    append_tokens(type, ids, work.tokens);
    work.length = static_cast<int32_t>(ids.size());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    const std::string what = error.what();
    work.problem = what.starts_with(file) ? what : cat(file, ":", line, ": ", what);
  }
}

// Every document of a round, by as many threads as there are.
void tokenise_all(std::vector<Work>& round, const PrepareOptions& options,
                  const text::Tokenizer& tokenizer, TokenType type) {
  constexpr size_t kTaken = 16;  // documents that a thread takes at a time
  std::atomic<size_t> next = 0;
  std::exception_ptr failure;
  std::atomic_flag failed;
  const auto run = [&] {
    try {
      for (size_t begin; (begin = next.fetch_add(kTaken)) < round.size();) {
        for (size_t i = begin; i < std::min(begin + kTaken, round.size()); ++i)
          tokenise(round[i], options, tokenizer, type);
      }
    } catch (...) {
      if (!failed.test_and_set()) failure = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i < options.workers; ++i) threads.emplace_back(run);
  run();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

std::vector<Work> read_round(DocumentReader& reader, int64_t bytes) {
  std::vector<Work> round;
  for (Work work; bytes > 0 && reader.next(work.raw); work = {}) {
    bytes -= static_cast<int64_t>(work.raw.content.size());
    round.push_back(std::move(work));
  }
  return round;
}

void take(const Work& work, const PrepareOptions& options, PartialOutput& output,
          PrepareResult& result) {
  if (!work.problem.empty()) {
    if (!options.skip_bad)
      throw input_error(work.problem, " (--skip-bad leaves such documents out)");
    if (result.skipped++ == 0) result.first_skipped = work.problem;
  } else if (work.length == 0) {
    ++result.empty;
  } else {
    output.add(work.tokens, work.length);
    result.documents += 1;
    result.tokens += work.length;
  }
}

// Reads, tokenises and adds documents until there are no more.
void run(const PrepareOptions& options, const text::Tokenizer& tokenizer, TokenType type,
         PartialOutput& output, DocumentReader& reader, PrepareResult& result, bool resumed) {
  const SteadyClock clock;
  Stopwatch since_save(clock);
  for (;;) {
    std::vector<Work> round = read_round(reader, options.round_bytes);
    tokenise_all(round, options, tokenizer, type);
    for (const Work& work : round) take(work, options, output, result);
    if (options.on_progress) {
      options.on_progress({result.documents, result.tokens, reader.bytes_read(),
                           reader.total_bytes(), std::exchange(resumed, false)});
    }
    if (round.empty()) break;
    if (since_save.seconds() >= options.save_every_s) {
      output.save(result, reader.position());
      since_save.restart();
    }
  }
  if (result.documents == 0) {
    throw input_error(options.source.files.front(), ": no document with text in ",
                      options.source.files.size() == 1 ? "it" : "all the input files");
  }
  output.save(result, reader.position());
}

}  // namespace

PrepareResult prepare(const PrepareOptions& options, const text::Tokenizer& tokenizer,
                      const std::string& tokenizer_id) {
  const TokenType type = token_type_for(tokenizer.vocab_size());
  PrepareResult result;
  DocumentPosition position;
  const DocumentReader check(options.source);  // refuses its files before anything is written
  PartialOutput output(options.prefix, describe_job(options, tokenizer, tokenizer_id));
  const bool resumed = output.open(result, position);
  const int64_t tokens_before = result.tokens;
  DocumentReader reader(options.source, position);
  try {
    run(options, tokenizer, type, output, reader, result, resumed);
  } catch (...) {
    output.give_up();
    throw;
  }
  output.commit(type);
  result.tokens_here = result.tokens - tokens_before;
  return result;
}

}  // namespace trireme::data
