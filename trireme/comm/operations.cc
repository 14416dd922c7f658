#include "trireme/comm/operations.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

std::string size_text(int64_t bytes) {
  if (bytes < 1024) {
    return cat(bytes, " B");
  }
  const bool mib = bytes >= 1024 * 1024;
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %s",
                static_cast<double>(bytes) / (mib ? 1024 * 1024 : 1024), mib ? "MiB" : "KiB");
  return text;
}

}  // namespace

std::string Operation::name() const {
  std::string text = cat(kind, " '", tag, "' (#", seq, " of ", group);
  if (peer >= 0) {
    text += cat(kind == "send" ? " to rank " : " from rank ", peer);
  }
  if (bytes > 0) {
    text += cat(", ", size_text(bytes), " ", dtype);
  }
  return text + ")";
}

std::string to_json(const std::vector<Operation>& operations) {
  nlohmann::json list = nlohmann::json::array();
  for (const Operation& o : operations) {
    list.push_back({{"group", o.group},
                    {"kind", o.kind},
                    {"tag", o.tag},
                    {"dtype", o.dtype},
                    {"bytes", o.bytes},
                    {"seq", o.seq},
                    {"peer", o.peer},
                    {"running", o.running},
                    {"age_s", o.age_s}});
  }
  return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<Operation> operations_from_json(const std::string& text) {
  try {
    std::vector<Operation> out;
    for (const nlohmann::json& item : nlohmann::json::parse(text)) {
      Operation o;
      item.at("group").get_to(o.group);
      item.at("kind").get_to(o.kind);
      item.at("tag").get_to(o.tag);
      item.at("dtype").get_to(o.dtype);
      item.at("bytes").get_to(o.bytes);
      item.at("seq").get_to(o.seq);
      item.at("peer").get_to(o.peer);
      item.at("running").get_to(o.running);
      item.at("age_s").get_to(o.age_s);
      out.push_back(std::move(o));
    }
    return out;
  } catch (const nlohmann::json::exception&) {
    return {};
  }
}

std::string OperationTable::key(const Operation& o) {
  return o.peer < 0 ? o.group : cat(o.group, '/', o.kind, '/', o.peer);
}

Operation OperationTable::begin(Operation operation) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[key(operation)];
  operation.seq = entry.last.seq + 1;
  entry.last = operation;
  entry.begun = Clock::now();
  return operation;
}

void OperationTable::end(const Operation& operation) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_[key(operation)];
  entry.ended = std::max(entry.ended, operation.seq);
}

std::vector<Operation> OperationTable::last() const {
  const std::lock_guard lock(mutex_);
  std::vector<Operation> out;
  for (const auto& [key, entry] : entries_) {
    out.push_back(entry.last);
    out.back().running = entry.ended < entry.last.seq;
    out.back().age_s = std::chrono::duration<double>(Clock::now() - entry.begun).count();
  }
  return out;
}

}  // namespace trireme::comm
