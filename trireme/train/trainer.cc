#include "trireme/train/trainer.h"

#include <algorithm>
#include <iomanip>
#include <optional>

#include "trireme/base/error.h"
#include "trireme/base/log.h"
#include "trireme/checkpoint/folder.h"
#include "trireme/comm/flight_recorder.h"
#include "trireme/kernels/gemm.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/train/meters.h"
#include "trireme/train/rank_times.h"
#include "trireme/train/rank_zero.h"
#include "trireme/train/resume.h"
#include "trireme/train/run_layout.h"
#include "trireme/train/run_log.h"
#include "trireme/train/score_keeper.h"
#include "trireme/train/step_runner.h"
#include "trireme/train/step_source.h"

namespace trireme::train {
namespace {

std::vector<int32_t> sample_lengths(const tasks::Task& task, int64_t micro_batch_tokens,
                                    int64_t cp) {
  const int64_t most = micro_batch_tokens * cp;
  std::vector<int32_t> lengths;
  for (int64_t i = 0; i < task.train_size(); ++i) {
    const int64_t length = task.train_length(i);
    if (length > most) {
      throw input_error("training sample ", i, " has ", length, " tokens, more than ",
                        cp > 1 ? "parallel.cp times " : "", "data.micro_batch_tokens = ", most);
    }
    lengths.push_back(static_cast<int32_t>(length));
  }
  if (lengths.empty()) throw input_error("data.train: no samples to train on");
  return lengths;
}

data::BatchPolicy batch_policy(const DataConfig& data) {
  return {.global_batch_samples = data.global_batch_samples,
          .global_batch_tokens = data.global_batch_tokens};
}

std::unique_ptr<parallel::Hybrid> make_model(const RunConfig& config,
                                             const parallel::Layout& layout, comm::World& world,
                                             tasks::Task& task) {
  parallel::HybridOptions options{
      .compute_dtype = config.train.precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat,
      .adamw = {.beta1 = config.optim.beta1,
                .beta2 = config.optim.beta2,
                .eps = config.optim.eps,
                .weight_decay = config.optim.weight_decay}};
  const tasks::ChainTask* chain = task.as_chain();
  if (chain == nullptr) {
    return std::make_unique<parallel::Hybrid>(world, task.units(), layout, options);
  }
  options.width = chain->width();
  return std::make_unique<parallel::Hybrid>(world, chain->chain(), layout, options);
}

std::vector<checkpoint::RunChunk> run_chunks(const parallel::Hybrid& model) {
  std::vector<checkpoint::RunChunk> chunks;
  for (const parallel::Hybrid::Chunk& chunk : model.chunks()) {
    chunks.push_back({chunk.engine.get(), chunk.adamw.get(), chunk.place});
  }
  return chunks;
}

// Each data rank has a share of the work. Ranks of a context-parallel group evaluate sequences of
// their own: without gradients there is room for whole ones.
class ModelEvaluator final : public tasks::Evaluator {
 public:
  explicit ModelEvaluator(parallel::Hybrid& model)
      : Evaluator(model.data_rank() * model.groups().mesh().size(comm::Axis::kCp) +
                      model.groups().here().cp,
                  static_cast<int>(model.layout().data_ranks())),
        inference_(model) {}
  at::Tensor run(const nn::Chain&, nn::Context& context) override {
    return inference_.run(context);
  }

 private:
  parallel::Hybrid::Inference inference_;
};

class Trainer {
 public:
  Trainer(const RunConfig& config, const Json& effective_config, comm::World& world,
          tasks::Task& task, const TrainOptions& options)
      : config_(config),
        effective_config_(effective_config),
        options_(options),
        world_(world),
        task_(task),
        phases_(clock_),
        layout_(run_layout(config, {world.size(), world.rank()}, task,
                           [](const std::string& key) { return key; })),
        lengths_(sample_lengths(task, config.data.micro_batch_tokens, layout_.cp)),
        identity_(task.identity()),
        total_steps_(count_steps()),
        end_(config.train.stop_at > 0 ? std::min(config.train.stop_at, total_steps_)
                                      : total_steps_),
        model_(make_model(config, layout_, world, task)),
        tensors_(world.world_group(), run_chunks(*model_)),
        runner_(config.optim, total_steps_, {task, *model_, world.world_group(), phases_, seed()}),
        keeper_(task.metric(), task.metric_higher_is_better() ? Better::kHigher : Better::kLower,
                config.train.early_stop_patience) {}

  TrainResult run();

 private:
  uint64_t seed() const { return static_cast<uint64_t>(config_.train.seed); }
  bool saves() const { return !config_.checkpoint.dir.empty(); }
  bool over() const { return result_.step == end_ || result_.interrupted || keeper_.exhausted(); }
  int64_t count_steps() const;
  double gemm_share_per_token_per_s() const;

  void begin();
  void begin_fresh();
  void begin_resumed();
  void set_aside_later_checkpoints();
  void step(StepSource& source);
  void warn_of_few_micro_batches(size_t micro_batches);
  void add_time(double seconds, double wait_s);
  // `times` are of the step before, whose number (from 1) is `step`.
  void name_slow_ranks(const std::vector<RankTime>& times, int64_t step);
  // At the boundary behind a step: evaluates, saves, decides whether to go on.
  void settle(bool evaluation_scheduled, bool stop);
  // True: a new best.
  bool evaluate(bool scheduled);
  void save();
  void finish();

  RunConfig config_;
  const Json& effective_config_;
  const TrainOptions& options_;
  comm::World& world_;
  tasks::Task& task_;
  SteadyClock clock_;
  PhaseClock phases_;
  Throughput throughput_;
  parallel::Layout layout_;
  std::vector<int32_t> lengths_;  // tokens of every sample
  Json identity_;                 // what a run that goes on from this one must share
  int64_t total_steps_;           // what the schedule aims at
  int64_t end_;                   // where this run ends
  std::unique_ptr<parallel::Hybrid> model_;
  checkpoint::RunTensors tensors_;
  StepRunner runner_;
  ScoreKeeper keeper_;
  std::optional<RunLog> log_;  // on rank 0

  TrainResult result_;  // step and losses: the run's progress
  data::DataCursor cursor_;
  Json scores_ = Json::object();  // of an evaluation at this very step
  bool warned_ = false;           // of few micro-batches
  bool evaluation_due_ = false;   // interrupted where one was scheduled
  int64_t peak_private_bytes_ = 0;
  RankTime step_before_;  // of this rank
  RankTime total_;
  int64_t steps_here_ = 0;
  SlowRankWatch slow_ranks_;
};

int64_t Trainer::count_steps() const {
  if (config_.train.steps > 0) return config_.train.steps;
  return data::batches_in_epochs(lengths_, static_cast<uint64_t>(config_.train.seed),
                                 batch_policy(config_.data), config_.train.epochs);
}

// What one real token a second takes of all ranks' measured product rate.
double Trainer::gemm_share_per_token_per_s() const {
  if (options_.progress == nullptr || task_.flops_per_token() == 0) return 0;
  const at::ScalarType dtype =
      config_.train.precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat;
  const double peak = kernels::measure_gemm_gflops(dtype) * 1e9 * world_.threads() * world_.size();
  return task_.flops_per_token() / peak;
}

TrainResult Trainer::run() {
  model_->on_phase = [this](parallel::StepPhase phase) {
    phases_.enter(phase == parallel::StepPhase::kForward    ? Phase::kForward
                  : phase == parallel::StepPhase::kBackward ? Phase::kBackward
                  : phase == parallel::StepPhase::kPipeline ? Phase::kPipeline
                                                            : Phase::kCommWait);
  };
  begin();
  if (world_.rank() == 0) {
    log_.emplace(clock_, RunLogOptions{.progress = options_.progress,
                                       .in_place = options_.progress_in_place,
                                       .first_step = result_.step,
                                       .total_steps = total_steps_,
                                       .gemm_share_per_token_per_s = gemm_share_per_token_per_s(),
                                       .tensorboard = config_.log.tensorboard});
  }
  if (evaluation_due_) settle(/*evaluation_scheduled=*/true, /*stop=*/false);
  if (!over()) {
    StepSource source(task_, lengths_,
                      {.seed = seed(),
                       .policy = batch_policy(config_.data),
                       .micro_batch_tokens = config_.data.micro_batch_tokens,
                       .dp = model_->data_ranks(),
                       .dp_rank = model_->data_rank(),
                       .cp = static_cast<int>(layout_.cp),
                       .cp_rank = model_->groups().here().cp},
                      result_.step, cursor_, end_);
    while (!over()) step(source);
  }
  finish();
  return std::move(result_);
}

void Trainer::begin() {
  if (saves()) {
    on_rank_zero(world_.world_group(), "checkpoint.dir", [&] {
      ensure_dir(config_.checkpoint.dir);
      checkpoint::sweep(config_.checkpoint.dir);
      return std::string();
    });
  }
  if (options_.resume.empty()) {
    begin_fresh();
  } else {
    begin_resumed();
  }
  if (saves()) set_aside_later_checkpoints();
}

void Trainer::begin_fresh() {
  if (!options_.open_weights) {
    model_->init(seed());
    return;
  }
  parallel::TensorReader read;
  on_rank_zero(world_.world_group(), "initial weights", [&] {
    read = options_.open_weights();
    return std::string();
  });
  parallel::load_masters(tensors_.holdings(), read);
}

void Trainer::begin_resumed() {
  const Resumed resumed =
      resume(options_.resume, effective_config_, identity_, world_.world_group(), tensors_);
  if (resumed.run.step > end_) {
    throw input_error("train.stop_at or the run's length is step ", end_, ", but ", resumed.path,
                      " is at step ", resumed.run.step, " already");
  }
  const std::string where = resumed.path + ": trainer";
  keeper_.restore(resumed.run.trainer, where);
  evaluation_due_ = require_bool(resumed.run.trainer, "evaluation_due", where);
  cursor_ = resumed.run.cursor;
  scores_ = resumed.run.metrics;
  result_.step = resumed.run.step;
  result_.losses = resumed.run.losses;
  result_.eval = scores_;
  result_.checkpoint = resumed.path;
  if (world_.rank() == 0) log_info(cat("going on from ", resumed.path));
}

void Trainer::set_aside_later_checkpoints() {
  on_rank_zero(world_.world_group(), "checkpoint.dir", [&] {
    const bool goes_on =
        !options_.resume.empty() && checkpoint::holds(config_.checkpoint.dir, result_.checkpoint);
    const std::string aside =
        checkpoint::set_aside_after(config_.checkpoint.dir, goes_on ? result_.step : -1);
    if (!aside.empty()) {
      log_warn(
          cat(config_.checkpoint.dir, " held checkpoints of another run; they are now in ", aside));
    }
    return std::string();
  });
}

void Trainer::step(StepSource& source) {
  const Stopwatch watch(clock_);
  const double blocked_before_s = world_.recorder().blocked_s();
  phases_.enter(Phase::kDataWait);
  const StepWork work = source.next();
  const StepOutcome outcome =
      runner_.run(work, options_.stop != nullptr && options_.stop->load(), step_before_);

  const double seconds = watch.seconds();
  throughput_.add_step(work.tokens, seconds);
  add_time(seconds, world_.recorder().blocked_s() - blocked_before_s);
  name_slow_ranks(outcome.step_before, work.step);
  peak_private_bytes_ =
      std::max(peak_private_bytes_, process_memory().private_bytes + world_.shared_bytes());
  cursor_ = work.next;
  result_.step = work.step + 1;
  warn_of_few_micro_batches(work.micro_batches.size());
  result_.losses.push_back(outcome.loss);
  result_.grad_norm = outcome.grad_norm;
  result_.lr = outcome.lr;
  scores_ = Json::object();
  if (log_) {
    log_->step({result_.step, outcome.loss, outcome.lr, outcome.grad_norm, throughput_.recent()});
  }
  if (options_.on_step) {
    options_.on_step({result_.step, outcome.loss, outcome.lr, outcome.grad_norm, work.samples});
  }
  const int64_t every = config_.eval.every;
  settle((every > 0 ? result_.step % every == 0 : work.ends_epoch) || result_.step == total_steps_,
         outcome.stop);
}

void Trainer::warn_of_few_micro_batches(size_t micro_batches) {
  if (!log_ || layout_.pp == 1 || warned_ || parallel::is_schedule_file(layout_.schedule)) return;
  const std::string warning =
      parallel::pipeline::few_micro_batches_warning(parallel::pipeline::make_schedule(
          layout_.schedule, {.stages = static_cast<int>(layout_.pp),
                             .micro_batches = static_cast<int>(micro_batches),
                             .chunks_per_stage = static_cast<int>(layout_.chunks)}));
  if (warning.empty()) return;
  warned_ = true;
  log_->say(warning);
}

void Trainer::add_time(double seconds, double wait_s) {
  step_before_ = {.compute_s = seconds - wait_s, .wait_s = wait_s};
  total_.compute_s += step_before_.compute_s;
  total_.wait_s += wait_s;
  ++steps_here_;
}

void Trainer::name_slow_ranks(const std::vector<RankTime>& times, int64_t step) {
  // The first step tells of none before; the second of the first, which warms up.
  if (!log_ || steps_here_ < 3) return;
  for (const SlowRank& slow : slow_ranks_.add_step(times)) {
    log_->say(cat(world_.peers()[static_cast<size_t>(slow.rank)].name(), " computes ",
                  std::setprecision(3), slow.factor(), " times the median of the other ranks (",
                  slow.compute_s, " s against ", slow.median_s, " s a step, steps ",
                  step - SlowRankWatch::kBlockSteps + 1, " to ", step, ")"));
  }
}

void Trainer::settle(bool evaluation_scheduled, bool stop) {
  const bool at_end = result_.step == end_;
  bool new_best = false;
  if (stop) {
    result_.interrupted = true;
    evaluation_due_ = evaluation_scheduled;
  } else if (evaluation_scheduled || at_end) {
    new_best = evaluate(evaluation_scheduled);
    evaluation_due_ = false;
  }
  const int64_t every = config_.checkpoint.every;
  const bool save_due = every > 0 && result_.step % every == 0;
  if (save_due || new_best || at_end || over()) save();
}

bool Trainer::evaluate(bool scheduled) {
  phases_.enter(Phase::kEval);
  {
    ModelEvaluator evaluator(*model_);
    scores_ = task_.evaluate(world_, evaluator);
  }
  phases_.enter(Phase::kOther);
  if (scores_.empty()) return false;
  result_.eval = scores_;
  if (log_) log_->scores(result_.step, scores_);
  // One that only train.stop_at brought about must not change how the run goes on.
  return scheduled && keeper_.consider(result_.step, scores_);
}

void Trainer::save() {
  if (!saves()) return;
  phases_.enter(Phase::kCheckpoint);
  if (world_.rank() != 0) checkpoint::contribute(tensors_);
  result_.checkpoint = on_rank_zero(world_.world_group(), "checkpoint", [&] {
    checkpoint::RunState run;
    run.step = result_.step;
    run.optimizer_steps = model_->chunks().front().adamw->steps();
    run.seed = seed();
    run.cursor = cursor_;
    run.identity = identity_;
    run.config = effective_config_;
    run.metrics = scores_;
    run.trainer = keeper_.to_json();
    run.trainer["evaluation_due"] = evaluation_due_;
    run.losses = result_.losses;
    const std::string& dir = config_.checkpoint.dir;
    const std::string path = checkpoint::save(
        dir, run, tensors_, [this](const std::string& folder) { task_.write_assets(folder); });
    checkpoint::retain(dir, {.keep = config_.checkpoint.keep,
                             .metric = task_.metric(),
                             .higher_is_better = task_.metric_higher_is_better()});
    return path;
  });
  phases_.enter(Phase::kOther);
}

void Trainer::finish() {
  if (log_) log_->finish();
  result_.stopped_early = keeper_.exhausted() && result_.step < total_steps_;
  result_.best = keeper_.best();
  result_.real_tokens_per_s = throughput_.median();
  result_.real_tokens_per_s_mean = throughput_.mean();
  const ProcessMemory memory = process_memory();
  const Json mine = {std::max(peak_private_bytes_, memory.private_bytes), memory.peak_rss_bytes,
                     peak_tensor_bytes(),
                     Json{{"compute_s", total_.compute_s}, {"wait_s", total_.wait_s}}};
  for (const std::string& text :
       world_.world_group().all_gather_bytes(dump_json(mine), "memory of the ranks")) {
    const Json of_rank = parse_json(text, "memory of a rank");
    result_.peak_rss_bytes.push_back(as_int(of_rank[0], "memory of a rank"));
    result_.vm_hwm_bytes.push_back(as_int(of_rank[1], "memory of a rank"));
    result_.peak_tensor_bytes.push_back(of_rank[2]);
    result_.ranks.push_back(of_rank[3]);
  }
  result_.timings = phases_.seconds();
}

}  // namespace

TrainResult train(const RunConfig& config, const Json& effective_config, comm::World& world,
                  tasks::Task& task, const TrainOptions& options) {
  return Trainer(config, effective_config, world, task, options).run();
}

}  // namespace trireme::train
