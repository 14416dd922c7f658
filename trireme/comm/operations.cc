#include "trireme/comm/operations.h"

#include <cstdio>

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

// Two sizes that would read the same are told in bytes.
std::string sizes_text(int64_t a, int64_t b) {
  const bool same_text = size_text(a) == size_text(b);
  return same_text ? cat(a, " B against ", b, " B") : cat(size_text(a), " against ", size_text(b));
}

}  // namespace

const char* kind_name(OperationKind kind) {
  switch (kind) {
    case OperationKind::kConnect:
      return "connect";
    case OperationKind::kAllReduce:
      return "all_reduce";
    case OperationKind::kBroadcast:
      return "broadcast";
    case OperationKind::kAllGather:
      return "all_gather";
    case OperationKind::kReduceScatter:
      return "reduce_scatter";
    case OperationKind::kAllToAll:
      return "all_to_all";
    case OperationKind::kBarrier:
      return "barrier";
    case OperationKind::kSend:
      return "send";
    default:
      return "recv";
  }
}

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

std::string mismatch(const Operation& mine, const Operation& theirs) {
  const bool both_ways = mine.point_to_point() && theirs.point_to_point();
  if (both_ways ? mine.kind == theirs.kind : mine.kind != theirs.kind) {
    return cat(mine.kind, " against ", theirs.kind);
  }
  if (mine.bytes != theirs.bytes) {
    return sizes_text(mine.bytes, theirs.bytes);
  }
  if (mine.dtype != theirs.dtype) {
    return cat(mine.dtype, " against ", theirs.dtype);
  }
  if (!both_ways && mine.peer != theirs.peer) {
    return cat("from rank ", mine.peer, " against from rank ", theirs.peer);
  }
  return "";
}

Json to_json(const std::vector<Operation>& operations) {
  Json list = Json::array();
  for (const Operation& o : operations) {
    list.push_back({{"group", o.group},
                    {"kind", o.kind},
                    {"tag", o.tag},
                    {"dtype", o.dtype},
                    {"bytes", o.bytes},
                    {"seq", o.seq},
                    {"peer", o.peer},
                    {"running", o.running},
                    {"age_s", o.age_s},
                    {"took_s", o.took_s}});
  }
  return list;
}

std::vector<Operation> operations_from_json(const Json& list, const std::string& where) {
  std::vector<Operation> out;
  for (const Json& item : as_array(list, where)) {
    Operation o;
    o.group = require_string(item, "group", where);
    o.kind = require_string(item, "kind", where);
    o.tag = require_string(item, "tag", where);
    o.dtype = require_string(item, "dtype", where);
    o.bytes = require_int(item, "bytes", where);
    o.seq = static_cast<uint64_t>(require_int(item, "seq", where));
    o.peer = static_cast<int>(require_int(item, "peer", where));
    o.running = require_bool(item, "running", where);
    o.age_s = require_double(item, "age_s", where);
    o.took_s = require_double(item, "took_s", where);
    out.push_back(std::move(o));
  }
  return out;
}

}  // namespace trireme::comm
