// Which Unicode version brought a character.
#pragma once

#include <unicode/uchar.h>

namespace trireme::text {

// True when the character was assigned in that major version of Unicode or earlier. False for what
// the ICU in use does not know.
inline bool is_known_in(char32_t c, int major_version) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] != 0 && age[0] <= major_version;
}

}  // namespace trireme::text
