#include "trireme/comm/gloo_transport.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string_view>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/foreign_error.h"

namespace trireme::comm {
namespace {

std::atomic<int> breaks = 0;
std::terminate_handler handler_before = nullptr;

bool from_transport(std::string_view what) {
  return what.find("/gloo/transport/") != std::string_view::npos;
}

void on_terminate() {
  if (const std::exception_ptr thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      if (from_transport(e.what())) {
        ++breaks;
        for (;;) pause();
      }
    } catch (...) {
      // Not Gloo's.
    }
  }
  if (handler_before != nullptr) handler_before();
  std::abort();
}

}  // namespace

GlooTransport::GlooTransport(const std::string& local_address) : breaks_before_(breaks) {
  static std::once_flag once;
  std::call_once(once, [] { handler_before = std::set_terminate(on_terminate); });
  try {
    device_ = c10d::ProcessGroupGloo::createDeviceForHostname(local_address);
  } catch (const std::exception& e) {
    throw input_error("Gloo cannot use the local address ", local_address,
                      "; choose another with comm.interface (", first_line(e.what()), ")");
  }
}

bool GlooTransport::broken() const {
  return breaks != breaks_before_;
}

}  // namespace trireme::comm
