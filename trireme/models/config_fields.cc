#include "trireme/models/config_fields.h"

#include "trireme/base/error.h"

namespace trireme::models {

int64_t positive(const Json& config, const char* key, const std::string& where, int64_t fallback) {
  const int64_t value = optional_int(config, key, where, fallback);
  if (value < 1) throw input_error(where, ": ", key, " is ", value, "; it must be at least 1");
  return value;
}

double probability(const Json& config, const char* key, const std::string& where, double fallback) {
  const double value = optional_double(config, key, where, fallback);
  if (!(value >= 0.0 && value < 1.0))
    throw input_error(where, ": ", key, " is ", value, "; it must be in [0, 1)");
  return value;
}

void expect_text(const Json& config, const char* family, const char* key, const std::string& where,
                 const std::string& only) {
  const std::string value = optional_string(config, key, where, only);
  if (value != only) {
    throw input_error(where, ": ", key, " '", value, "' is not there; ", family,
                      " models here have '", only, "'");
  }
}

void expect_flag(const Json& config, const char* family, const char* key, const std::string& where,
                 bool only) {
  if (optional_bool(config, key, where, only) != only) {
    throw input_error(where, ": ", key, " ", only ? "false" : "true", " is not there; ", family,
                      " models here have ", only ? "true" : "false");
  }
}

}  // namespace trireme::models
