// trireme serve MODEL: answers over HTTP until SIGTERM.
#include <iostream>

#include "trireme/base/clock.h"
#include "trireme/base/version.h"
#include "trireme/cli/command.h"
#include "trireme/cli/qa_engine.h"
#include "trireme/cli/session.h"
#include "trireme/comm/rank_env.h"
#include "trireme/serve/qa_server.h"

namespace trireme::cli {
namespace {

struct ServeArguments {
  std::string model, precision = "fp32", report;
  serve::QaServerOptions server;
  double drain_s = 30;
  data::DecodeOptions decode;
  int threads = 0;
};

int serve(ServeArguments& arguments) {
  ModelQaEngineOptions engine;
  engine.folder = resolve_model_folder(arguments.model);
  engine.dtype = parse_precision(arguments.precision);
  engine.decode = arguments.decode;
  engine.threads =
      arguments.threads > 0 ? arguments.threads : static_cast<int>(comm::available_cpus().size());
  QaCounts counts;
  engine.counts = &counts;
  arguments.server.service.version = version();
  arguments.server.drain =
      std::chrono::milliseconds(static_cast<int64_t>(arguments.drain_s * 1000));
  serve::QaServer server(arguments.server,
                         [&engine] { return std::make_unique<ModelQaEngine>(engine); });
  std::cerr << "listening on " << server.url() << ", loading " << engine.folder << std::endl;
  const SteadyClock clock;
  const Stopwatch uptime(clock);
  const bool clean = server.run([&] {
    std::cerr << "ready: POST " << server.url()
              << "/v1/qa {\"question\": \"...\", \"context\": \"...\"}" << std::endl;
  });
  if (!clean)
    std::cerr << "some requests were cut off by the drain's bound of " << arguments.drain_s << " s"
              << std::endl;
  Report report("serve");
  report.config = {{"model", engine.folder},
                   {"precision", arguments.precision},
                   {"threads", engine.threads},
                   {"url", server.url()}};
  report.metrics = {{"queries_answered", counts.answered.load()},
                    {"queries_refused", counts.refused.load()},
                    {"drained", clean}};
  report.timings["uptime_s"] = uptime.seconds();
  report.write(arguments.report);
  return 0;
}

}  // namespace

void add_serve_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ServeArguments>();
  CLI::App* command = add_command(app, "serve", "Answer questions over HTTP from a trained model.");
  command->add_option("model", arguments->model, "A model folder or a checkpoint.")
      ->type_name("MODEL")
      ->required();
  command->add_option("--host", arguments->server.http.host, "Address to listen on.")
      ->capture_default_str();
  command->add_option("--port", arguments->server.http.port, "Port to listen on; 0: any free one.")
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "Compute threads; 0: one a core.")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      ->add_option("--drain", arguments->drain_s,
                   "Longest wait for requests in flight after SIGTERM, in seconds.")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command
      ->add_option("--max-queue", arguments->server.service.max_queue_items,
                   "Queries that may wait; more get 429.")
      ->check(CLI::Range(64, 1 << 20))
      ->capture_default_str();
  add_decode_options(*command, &arguments->decode);
  add_precision_option(*command, &arguments->precision);
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] { run = [arguments] { return serve(*arguments); }; });
}

}  // namespace trireme::cli
