#include "trireme/train/config.h"

#include <array>
#include <map>

#include "trireme/base/error.h"

namespace trireme::train {
namespace {

using Ints = Range<int64_t>;
using Doubles = Range<double>;

// Tokens of one text and of one batch are counted in 32 bits further in.
constexpr int64_t kMostTokens = 1'000'000;
constexpr int64_t kMostBatchTokens = 1'000'000'000;

void bind_model(Schema& schema, ModelConfig& model) {
  schema.add("model.path", &model.path,
             "Hugging Face model folder to start from (weights, config.json, tokenizer).");
  schema.add("model.config", &model.config,
             "A config.json alone, beside tokenizer files: weights are drawn from train.seed.");
  schema.add("model.tokenizer", &model.tokenizer,
             "LM: folder of the tokenizer's files, when they are not beside the model.");
  schema.add("model.attention_dropout", &model.attention_dropout, Doubles{.min = -1, .below = 1},
             "Dropout of attention probabilities; -1: as config.json says.");
  schema.add("model.hidden_dropout", &model.hidden_dropout, Doubles{.min = -1, .below = 1},
             "Dropout of embeddings and sub-layer outputs; -1: as config.json says.");
}

void bind_data(Schema& schema, DataConfig& data) {
  schema
      .add("data.train", &data.train,
           "Training set. QA: a file in SQuAD 2.0 format. LM: prefixes that `trireme data prepare` "
           "made, 'a' or 'a, b' or, by weights, 'a:0.7, b:0.3'.")
      .required();
  schema.add("data.dev", &data.dev, "Development set for evaluation; empty: no evaluation.");
  schema.add("data.split", &data.split, Doubles{.min = 0, .below = 1},
             "LM: share of the training documents to evaluate on instead, drawn by train.seed.");
  schema.add("data.answerable_only", &data.answerable_only,
             "QA: leave out the questions without an answer, in both sets.");
  schema.add("data.max_length", &data.max_length, Ints{.min = 8, .max = kMostTokens},
             "Longest window in tokens: QA: special tokens included; LM: the context trained on.");
  schema.add("data.doc_stride", &data.doc_stride, Ints{.min = 0, .max = kMostTokens},
             "QA: context tokens that neighbouring windows share.");
  schema.add("data.micro_batch_tokens", &data.micro_batch_tokens,
             Ints{.min = 64, .max = kMostBatchTokens},
             "Most tokens that a rank runs at once: memory, not the result, depends on it.");
  schema.add("data.global_batch_tokens", &data.global_batch_tokens, Ints{.min = 0},
             "Samples a step by their tokens, over all ranks; 0: by global_batch_samples.");
  schema.add("data.global_batch_samples", &data.global_batch_samples, Ints{.min = 0},
             "Samples a step, over all ranks; 0: by global_batch_tokens.");
}

void bind_loop(Schema& schema, LoopConfig& loop) {
  schema.add(
      "train.task", &loop.task, Choices{"qa", "lm"},
      "What is learnt: qa = extractive question answering (BERT), lm = the next token (GPT-2).");
  schema.add("train.steps", &loop.steps, Ints{.min = 0}, "Length of the run in steps.");
  schema.add("train.epochs", &loop.epochs, Ints{.min = 0}, "Length of the run in epochs instead.");
  schema.add("train.stop_at", &loop.stop_at, Ints{.min = 0},
             "End after this step, the schedule still aimed at the whole run; 0: run it all.");
  schema.add("train.seed", &loop.seed, Ints{.min = 0},
             "Seed of the data order, initial weights and dropout.");
  schema.add("train.precision", &loop.precision,
             {{"fp32", Precision::kFp32}, {"bf16", Precision::kBf16}},
             "Arithmetic of forward and backward; bf16 keeps fp32 masters.");
  schema.add("train.early_stop_patience", &loop.early_stop_patience, Ints{.min = 0},
             "End after this many evaluations in a row without a better score; 0: never.");
}

void bind_optim(Schema& schema, OptimConfig& optim) {
  using optim::ScheduleKind;
  schema.add("optim.lr", &optim.lr, Doubles{.above = 0}, "Peak learning rate.");
  schema.add("optim.beta1", &optim.beta1, Doubles{.min = 0, .below = 1},
             "AdamW's decay of the first moment.");
  schema.add("optim.beta2", &optim.beta2, Doubles{.min = 0, .below = 1},
             "AdamW's decay of the second moment.");
  schema.add("optim.eps", &optim.eps, Doubles{.above = 0}, "AdamW's epsilon.");
  schema.add("optim.weight_decay", &optim.weight_decay, Doubles{.min = 0},
             "Decoupled weight decay; biases and norms have none.");
  schema.add("optim.clip_norm", &optim.clip_norm, Doubles{.min = 0},
             "Clip gradients to this global norm; 0: do not clip.");
  schema.add("optim.schedule", &optim.schedule,
             {{"linear", ScheduleKind::kLinear},
              {"cosine", ScheduleKind::kCosine},
              {"constant", ScheduleKind::kConstant},
              {"wsd", ScheduleKind::kWsd}},
             "Course of the learning rate after warm-up.");
  schema.add("optim.warmup_ratio", &optim.warmup_ratio, Doubles{.min = 0, .max = 1},
             "Warm-up as a share of the run.");
  schema.add("optim.warmup_steps", &optim.warmup_steps, Ints{.min = 0},
             "Warm-up in steps, instead of warmup_ratio.");
  schema.add("optim.decay_ratio", &optim.decay_ratio, Doubles{.min = 0, .max = 1},
             "Share of the run that the fall at the end of schedule 'wsd' takes.");
}

void bind_parallel(Schema& schema, ParallelConfig& parallel) {
  schema.add("parallel.dp", &parallel.dp, Ints{.min = 0},
             "Ranks that share out a step's samples; 0: all that the other axes leave.");
  schema.add("parallel.tp", &parallel.tp, Ints{.min = 1}, "Ranks that share each layer.");
  schema.add("parallel.pp", &parallel.pp, Ints{.min = 1}, "Pipeline stages.");
  schema.add("parallel.cp", &parallel.cp, Ints{.min = 1}, "Ranks that share each sequence.");
  schema.add("parallel.order", &parallel.order,
             "The axes, outermost first: ranks that are neighbours differ in the last one.");
  schema.add(
      "parallel.zero", &parallel.zero, Ints{.min = 0, .max = 3},
      "ZeRO stage, what data-parallel ranks share instead of copying: 0 nothing, 1 optimiser "
      "state, 2 and gradients, 3 and parameters.");
  schema.add("parallel.sequence_parallel", &parallel.sequence_parallel,
             "With tp: norms, dropouts and residuals on a part of the rows a rank, instead of on "
             "all of them everywhere.");
  schema.add("parallel.cp_method", &parallel.cp_method, Choices{"ring", "ulysses"},
             "How attention sees whole sequences under cp: keys go round (ring), or rows are "
             "exchanged for heads (ulysses).");
  schema.add("parallel.schedule", &parallel.schedule,
             "Pipeline schedule: gpipe | 1f1b | interleaved | zb_h1 | zbv, or a CSV file "
             "(docs/pipeline-schedules.md); auto: 1f1b where pp is above 1.");
  schema.add("parallel.chunks", &parallel.chunks, Ints{.min = 0},
             "Parts of the model that a stage of schedule 'interleaved' runs; 0: the fewest that "
             "the schedule takes.");
  schema.add("parallel.recompute", &parallel.recompute,
             "Recompute a block's activations in backward instead of keeping them: same bits, less "
             "memory, a forward more.");
}

void bind_rest(Schema& schema, RunConfig& config) {
  schema.add("comm.backend", &config.comm.backend,
             "What moves bytes between ranks: shm (inside a host, TCP between hosts) | gloo (TCP) "
             "| auto.");
  schema.add("comm.timeout_s", &config.comm.timeout_s, Doubles{.max = 7 * 24 * 3600, .above = 0},
             "Deadline of every collective, in seconds; 12 times as long where all wait for rank 0 "
             "to save or load.");
  schema.add("comm.interface", &config.comm.interface,
             "Network interface by name; empty: the one towards the store.");
  schema.add("comm.bind_address", &config.comm.bind_address, "Local address, instead of a name.");
  schema.add("comm.flight_dir", &config.comm.flight_dir,
             "Where ranks that survive a failure write what they did last, for `trireme doctor "
             "--flight`; empty: 'flight' in checkpoint.dir, if that is set.");
  schema.add("eval.every", &config.eval.every, Ints{.min = 0},
             "Evaluate every n steps; 0: at the end of each epoch. Always at the end of the run.");
  schema.add("eval.n_best", &config.eval.n_best, Ints{.min = 1, .max = 1000},
             "QA: start and end candidates of a window.");
  schema.add("eval.max_answer_tokens", &config.eval.max_answer_tokens,
             Ints{.min = 1, .max = kMostTokens}, "QA: longest answer in tokens.");
  schema.add("checkpoint.dir", &config.checkpoint.dir,
             "Folder of checkpoints; empty: nothing is saved.");
  schema.add("checkpoint.every", &config.checkpoint.every, Ints{.min = 0},
             "Save every n steps; 0: at the end, at a new best score, and when interrupted.");
  schema.add("checkpoint.keep", &config.checkpoint.keep, Ints{.min = 1},
             "Checkpoints to keep, besides the best.");
  schema.add("checkpoint.async", &config.checkpoint.async, "Save while training goes on.");
  schema.add("log.tensorboard", &config.log.tensorboard,
             "Folder for TensorBoard event files; empty: none.");
}

void check_missing(const Schema& schema, const RunConfig& config) {
  if (config.checkpoint.async) {
    throw input_error(schema.where("checkpoint.async"),
                      ": saving in the background is not in this build; use false");
  }
}

// Of two keys that say the same, at most one has a value: an override beats the file.
template <class A, class B>
void at_most_one(const Schema& schema, const std::string& key_a, A* a, const std::string& key_b,
                 B* b) {
  if (*a == A{} || *b == B{}) return;
  const auto overridden = [&](const std::string& key) {
    return schema.where(key).starts_with("--set");
  };
  if (overridden(key_a) == overridden(key_b)) {
    throw input_error(schema.where(key_b), ": is set besides ", key_a, "; set one");
  }
  if (overridden(key_a)) {
    *b = B{};
  } else {
    *a = A{};
  }
}

template <class T>
void one_of(const Schema& schema, const std::string& key_a, T* a, const std::string& key_b, T* b) {
  at_most_one(schema, key_a, a, key_b, b);
  if (*a == T{} && *b == T{}) throw input_error(schema.where(key_a), ": set it, or ", key_b);
}

// A key of one task is an error in another's run.
void check_task(const Schema& schema, const RunConfig& config) {
  const auto belongs_to = [&](const char* task, const std::string& key, bool given) {
    if (given && config.train.task != task) {
      throw input_error(schema.where(key), ": belongs to train.task = \"", task,
                        "\", this run's is \"", config.train.task, "\"; leave it out");
    }
  };
  belongs_to("lm", "model.tokenizer", !config.model.tokenizer.empty());
  belongs_to("lm", "data.split", config.data.split > 0);
  belongs_to("qa", "data.answerable_only", config.data.answerable_only);
  if (config.data.split > 0 && !config.data.dev.empty())
    throw input_error(schema.where("data.split"), ": is set besides data.dev; set one");
}

// Dotted keys of nested objects.
void flatten(const Json& object, const std::string& prefix, std::map<std::string, Json>& out) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) {
      flatten(value, name, out);
    } else {
      out[name] = value;
    }
  }
}

// Whole tables, and keys; the data set itself is compared by content.
constexpr std::array<std::string_view, 13> kMayDiffer = {"model.path",
                                                         "model.config",
                                                         "model.tokenizer",
                                                         "data.train",
                                                         "data.dev",
                                                         "data.micro_batch_tokens",
                                                         "train.stop_at",
                                                         "train.early_stop_patience",
                                                         "parallel.",
                                                         "comm.",
                                                         "eval.",
                                                         "checkpoint.",
                                                         "log."};

bool may_differ(const std::string& key) {
  for (const std::string_view allowed : kMayDiffer) {
    if (allowed.ends_with('.') ? key.starts_with(allowed) : key == allowed) return true;
  }
  return false;
}

}  // namespace

void bind(Schema& schema, RunConfig* config) {
  bind_model(schema, config->model);
  bind_data(schema, config->data);
  bind_loop(schema, config->train);
  bind_optim(schema, config->optim);
  bind_parallel(schema, config->parallel);
  bind_rest(schema, *config);
}

void check(const Schema& schema, RunConfig& config) {
  one_of(schema, "model.path", &config.model.path, "model.config", &config.model.config);
  one_of(schema, "train.steps", &config.train.steps, "train.epochs", &config.train.epochs);
  one_of(schema, "data.global_batch_samples", &config.data.global_batch_samples,
         "data.global_batch_tokens", &config.data.global_batch_tokens);
  at_most_one(schema, "optim.warmup_ratio", &config.optim.warmup_ratio, "optim.warmup_steps",
              &config.optim.warmup_steps);
  for (const auto& [key, value] :
       {std::pair{"model.attention_dropout", config.model.attention_dropout},
        {"model.hidden_dropout", config.model.hidden_dropout}}) {
    if (value < 0 && value != -1) {
      throw input_error(schema.where(key), ": must be -1, or at least 0 and below 1");
    }
  }
  if (config.data.max_length > config.data.micro_batch_tokens) {
    throw input_error(
        schema.where("data.micro_batch_tokens"), ": ", config.data.micro_batch_tokens,
        " tokens do not hold one window of data.max_length = ", config.data.max_length);
  }
  if (config.train.early_stop_patience > 0 && config.data.dev.empty() && config.data.split == 0) {
    throw input_error(schema.where("train.early_stop_patience"),
                      ": needs scores to go by; set data.dev",
                      config.train.task == "lm" ? " or data.split" : "");
  }
  if (config.checkpoint.every > 0 && config.checkpoint.dir.empty()) {
    throw input_error(schema.where("checkpoint.every"), ": there is no folder; set checkpoint.dir");
  }
  check_task(schema, config);
  check_missing(schema, config);
}

void check_resumable(const Json& saved_config, const Json& config, const std::string& checkpoint) {
  std::map<std::string, Json> saved, now;
  flatten(saved_config, "", saved);
  flatten(config, "", now);
  for (const auto& [key, value] : now) {
    const auto found = saved.find(key);
    if (found == saved.end() || found->second == value || may_differ(key)) continue;
    throw input_error(key, " = ", dump_json(value), ", but ", checkpoint, " was saved with ",
                      dump_json(found->second),
                      ": resuming continues the same run; set it back, or start a new run from the "
                      "checkpoint's weights with model.path");
  }
}

}  // namespace trireme::train
