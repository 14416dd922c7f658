// Fields of a config.json with their limits; all throw input_error naming file and key.
#pragma once

#include <cstdint>
#include <string>

#include "trireme/base/json.h"

namespace trireme::models {

// An integer of 1 or more.
int64_t positive(const Json& config, const char* key, const std::string& where, int64_t fallback);
// A number in [0, 1).
double probability(const Json& config, const char* key, const std::string& where, double fallback);
// A setting of which models of this `family` have one value here, which is also its default.
void expect_text(const Json& config, const char* family, const char* key, const std::string& where,
                 const std::string& only);
void expect_flag(const Json& config, const char* family, const char* key, const std::string& where,
                 bool only);

}  // namespace trireme::models
