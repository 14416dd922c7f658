#include "trireme/base/error.h"
#include "trireme/train/trainer.h"

namespace trireme::train {

void TrainResult::add_to(Report& report) const {
  Json& metrics = report.metrics;
  metrics["step"] = step;
  metrics["loss"] = losses;
  metrics["lr"] = lr;
  metrics["grad_norm"] = grad_norm;
  metrics["real_tokens_per_s"] = real_tokens_per_s;
  metrics["real_tokens_per_s_mean"] = real_tokens_per_s_mean;
  metrics["peak_rss_bytes"] = peak_rss_bytes;
  metrics["vm_hwm_bytes"] = vm_hwm_bytes;
  metrics["peak_tensor_bytes"] = peak_tensor_bytes;
  metrics["ranks"] = ranks;
  metrics["eval"] = eval;
  metrics["best"] = best;
  metrics["checkpoint"] = checkpoint;
  metrics["interrupted"] = interrupted;
  metrics["stopped_early"] = stopped_early;
  for (const auto& [name, seconds] : timings.items()) report.timings[name] = seconds;
}

void TrainResult::check_not_interrupted() const {
  if (!interrupted) return;
  if (checkpoint.empty()) {
    throw Error(ErrorKind::kInterrupted,
                cat("stopped on request after step ", step,
                    "; nothing is saved, because checkpoint.dir is not set"));
  }
  throw Error(ErrorKind::kInterrupted, cat("stopped on request after step ", step,
                                           ", saved; go on with --resume ", checkpoint));
}

}  // namespace trireme::train
