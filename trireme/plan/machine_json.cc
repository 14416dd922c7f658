#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/text_distance.h"
#include "trireme/plan/machine.h"

namespace trireme::plan {
namespace {

constexpr const char* kCommand = "bench machine";

// An object of which every key is asked for by name.
class Strict {
 public:
  Strict(const Json& object, std::string where)
      : object_(as_object(object, where)), where_(std::move(where)) {}
  // When all were asked for: any other is refused.
  void refuse_others() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
        throw input_error(where_, ": unknown key '", key, "'", did_you_mean(key, asked_));
      }
    }
  }
  Strict(const Strict&) = delete;
  Strict& operator=(const Strict&) = delete;

  const Json& at(const std::string& key) {
    asked_.push_back(key);
    if (object_.contains(key)) return object_[key];
    std::vector<std::string> there;
    for (const auto& [name, value] : object_.items()) there.push_back(name);
    throw input_error(where_, ": key '", key, "' is missing", did_you_mean(key, there));
  }
  std::string where(const std::string& key) const { return cat(where_, ": ", key); }
  std::string text(const std::string& key) { return as_string(at(key), where(key)); }
  int64_t size(const std::string& key, int64_t least = 1) {
    const int64_t value = as_int(at(key), where(key));
    if (value < least) throw input_error(where(key), ": must be at least ", least, ", not ", value);
    return value;
  }
  double rate(const std::string& key) { return positive(at(key), where(key)); }
  std::vector<double> rates(const std::string& key, size_t count) {
    std::vector<double> values;
    for (const Json& value : as_array(at(key), where(key))) {
      values.push_back(positive(value, where(key)));
    }
    if (values.size() != count) {
      throw input_error(where(key), ": has ", values.size(), " numbers, its axes make ", count);
    }
    return values;
  }
  // Rising, not empty.
  std::vector<int64_t> axis(const std::string& key) {
    std::vector<int64_t> values;
    for (const Json& value : as_array(at(key), where(key))) {
      values.push_back(as_int(value, where(key)));
      if (values.back() < 1 || (values.size() > 1 && values.back() <= values[values.size() - 2])) {
        throw input_error(where(key), ": must be rising numbers of at least 1");
      }
    }
    if (values.empty()) throw input_error(where(key), ": is empty");
    return values;
  }

 private:
  static double positive(const Json& value, const std::string& where) {
    const double number = as_double(value, where);
    if (!(number > 0) || !std::isfinite(number)) {
      throw input_error(where, ": must be above 0, not ", number);
    }
    return number;
  }

  const Json& object_;
  std::string where_;
  std::vector<std::string> asked_;
};

Json curve_json(const Curve& curve, const char* size) {
  Json sizes = Json::array(), times = Json::array();
  for (const double n : curve.size) sizes.push_back(static_cast<int64_t>(n));
  for (const double s : curve.seconds) times.push_back(s * 1e6);
  return {{size, std::move(sizes)}, {"us", std::move(times)}};
}

Curve curve_from(const Json& json, const char* size, const std::string& where) {
  Strict object(json, where);
  Curve curve;
  for (const int64_t n : object.axis(size)) curve.size.push_back(static_cast<double>(n));
  curve.seconds = object.rates("us", curve.size.size());
  object.refuse_others();
  for (double& s : curve.seconds) s *= 1e-6;
  return curve;
}

Json dtype_json(const DtypeRates& rates) {
  Json products = Json::object(), rows = Json::object(), attention = Json::object();
  for (size_t i = 0; i < kProductNames.size(); ++i) {
    const ProductGrid& grid = rates.products[i];
    products[kProductNames[i]] = {
        {"rows", grid.rows}, {"in", grid.in}, {"out", grid.out}, {"gflops", grid.gflops}};
  }
  for (size_t i = 0; i < kRowOpNames.size(); ++i) {
    rows[kRowOpNames[i]] = curve_json(rates.row_ops[i], "elements");
  }
  for (size_t i = 0; i < kAttentionNames.size(); ++i) {
    const AttentionGrid& grid = rates.attention[i];
    attention[kAttentionNames[i]] = {
        {"head_sizes", grid.head_sizes}, {"lengths", grid.lengths}, {"pair_ns", grid.pair_ns}};
  }
  return {{"products", std::move(products)},
          {"row_ops", std::move(rows)},
          {"attention", std::move(attention)},
          {"adamw", curve_json(rates.adamw, "elements")}};
}

DtypeRates dtype_from(const Json& json, const std::string& where) {
  DtypeRates rates;
  Strict object(json, where);
  {
    Strict products(object.at("products"), object.where("products"));
    for (size_t i = 0; i < kProductNames.size(); ++i) {
      Strict grid(products.at(kProductNames[i]), products.where(kProductNames[i]));
      ProductGrid& to = rates.products[i];
      to.rows = grid.axis("rows");
      to.in = grid.axis("in");
      to.out = grid.axis("out");
      to.gflops = grid.rates("gflops", to.rows.size() * to.in.size() * to.out.size());
      grid.refuse_others();
    }
    products.refuse_others();
  }
  {
    Strict rows(object.at("row_ops"), object.where("row_ops"));
    for (size_t i = 0; i < kRowOpNames.size(); ++i) {
      rates.row_ops[i] =
          curve_from(rows.at(kRowOpNames[i]), "elements", rows.where(kRowOpNames[i]));
    }
    rows.refuse_others();
  }
  {
    Strict attention(object.at("attention"), object.where("attention"));
    for (size_t i = 0; i < kAttentionNames.size(); ++i) {
      Strict grid(attention.at(kAttentionNames[i]), attention.where(kAttentionNames[i]));
      AttentionGrid& to = rates.attention[i];
      to.head_sizes = grid.axis("head_sizes");
      to.lengths = grid.axis("lengths");
      to.pair_ns = grid.rates("pair_ns", to.head_sizes.size() * to.lengths.size());
      grid.refuse_others();
    }
    attention.refuse_others();
  }
  rates.adamw = curve_from(object.at("adamw"), "elements", object.where("adamw"));
  object.refuse_others();
  return rates;
}

template <size_t kN>
size_t index_in(const std::array<const char*, kN>& names, const std::string& name,
                const std::string& where) {
  std::vector<std::string> known(names.begin(), names.end());
  const auto found = std::find(known.begin(), known.end(), name);
  if (found == known.end()) {
    throw input_error(where, ": '", name, "' is not known", did_you_mean(name, known));
  }
  return static_cast<size_t>(found - known.begin());
}

Link link_from(const Json& json, const std::string& where) {
  Strict object(json, where);
  Link link;
  link.path =
      static_cast<LinkPath>(index_in(kLinkPathNames, object.text("path"), object.where("path")));
  link.op = static_cast<LinkOp>(index_in(kLinkOpNames, object.text("op"), object.where("op")));
  link.ranks = object.size("ranks", 2);
  link.bytes = curve_from(object.at("times"), "bytes", object.where("times"));
  object.at("alpha_us");  // for people; they follow from the times
  object.at("gb_per_s");
  object.refuse_others();
  return link;
}

}  // namespace

Json Machine::to_json() const {
  Json rows = Json::array(), connections = Json::array();
  for (const ComputeRates& row : compute) {
    Json dtypes = Json::object();
    for (size_t i = 0; i < kDtypeNames.size(); ++i) {
      dtypes[kDtypeNames[i]] = dtype_json(row.by_dtype[i]);
    }
    rows.push_back({{"ranks", row.ranks},
                    {"threads", row.threads},
                    {"dtypes", std::move(dtypes)},
                    {"grad_norm", curve_json(row.grad_norm, "elements")},
                    {"zero", curve_json(row.zero, "elements")},
                    {"node_us", row.node_s * 1e6}});
  }
  for (const Link& link : links) {
    connections.push_back({{"path", kLinkPathNames[static_cast<size_t>(link.path)]},
                           {"op", kLinkOpNames[static_cast<size_t>(link.op)]},
                           {"ranks", link.ranks},
                           {"times", curve_json(link.bytes, "bytes")},
                           {"alpha_us", link.alpha_s() * 1e6},
                           {"gb_per_s", link.bytes_per_s() * 1e-9}});
  }
  return {{"cpu", cpu},
          {"date", date},
          {"version", version},
          {"cores", cores},
          {"memory_bytes", memory_bytes},
          {"process_bytes", process_bytes},
          {"compute", std::move(rows)},
          {"links", std::move(connections)}};
}

Machine machine_from_json(const Json& json, const std::string& where) {
  Strict object(json, where);
  Machine machine;
  machine.cpu = object.text("cpu");
  machine.date = object.text("date");
  machine.version = object.text("version");
  machine.cores = object.size("cores");
  machine.memory_bytes = object.size("memory_bytes");
  machine.process_bytes = object.size("process_bytes", 0);
  for (const Json& row : as_array(object.at("compute"), object.where("compute"))) {
    const std::string here = cat(object.where("compute"), "[", machine.compute.size(), "]");
    Strict fields(row, here);
    ComputeRates rates;
    rates.ranks = fields.size("ranks");
    rates.threads = fields.size("threads");
    {
      Strict dtypes(fields.at("dtypes"), fields.where("dtypes"));
      for (size_t i = 0; i < kDtypeNames.size(); ++i) {
        rates.by_dtype[i] = dtype_from(dtypes.at(kDtypeNames[i]), dtypes.where(kDtypeNames[i]));
      }
      dtypes.refuse_others();
    }
    rates.grad_norm = curve_from(fields.at("grad_norm"), "elements", fields.where("grad_norm"));
    rates.zero = curve_from(fields.at("zero"), "elements", fields.where("zero"));
    rates.node_s = fields.rate("node_us") * 1e-6;
    fields.refuse_others();
    machine.compute.push_back(std::move(rates));
  }
  if (machine.compute.empty()) throw input_error(object.where("compute"), ": is empty");
  for (const Json& link : as_array(object.at("links"), object.where("links"))) {
    machine.links.push_back(
        link_from(link, cat(object.where("links"), "[", machine.links.size(), "]")));
  }
  object.refuse_others();
  return machine;
}

Machine read_machine(const std::string& file) {
  const auto how = cat("make one with trireme bench machine --report ", file);
  if (!file_exists(file)) throw input_error(file, ": no such file; ", how);
  const Json report = read_json_file(file);
  if (!report.is_object() || !report.contains("command") || report["command"] != kCommand) {
    throw input_error(file, ": is no report of trireme bench machine; ", how);
  }
  return machine_from_json(require(report, "metrics", file), cat(file, ": metrics"));
}

}  // namespace trireme::plan
