#include "trireme/text/normal_forms.h"

#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/utf16.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/text/unicode_age.h"

namespace trireme::text {
namespace {

constexpr int kVersion = 9;

const UNormalizer2* normalizer(bool compatibility) {
  UErrorCode status = U_ZERO_ERROR;
  const UNormalizer2* instance =
      compatibility ? unorm2_getNFKCInstance(&status) : unorm2_getNFCInstance(&status);
  if (U_FAILURE(status) != 0) {
    throw run_error("ICU has no normalisation data (", u_errorName(status),
                    "); install the libicu package");
  }
  return instance;
}

// A character of the result and how it uses up the text: `takes` characters; 0 shares the character
// taken last.
struct Part {
  char32_t c;
  std::uint32_t takes;
  std::uint8_t combining_class;
};

std::vector<Part> decompose(const SourcedChars& chars, bool compatibility) {
  std::vector<Part> parts;
  parts.reserve(chars.size());
  std::u32string decomposition;
  for (const SourcedChar& c : chars) {
    decomposition.clear();
    append_decomposition(decomposition, c.c, compatibility);
    for (std::size_t i = 0; i < decomposition.size(); ++i) {
      const char32_t d = decomposition[i];
      parts.push_back({d, i == 0 ? 1U : 0U, d < 0x300 ? std::uint8_t{0} : combining_class(d)});
    }
  }
  // Canonical order: each run of marks, stably by class.
  for (auto run = parts.begin(); run != parts.end();) {
    if (run->combining_class == 0) {
      ++run;
      continue;
    }
    const auto end =
        std::find_if(run, parts.end(), [](const Part& p) { return p.combining_class == 0; });
    std::stable_sort(run, end, [](const Part& a, const Part& b) {
      return a.combining_class < b.combining_class;
    });
    run = end;
  }
  return parts;
}

// The composition of a and b, or 0.
char32_t compose_pair(const UNormalizer2* nfc, char32_t a, char32_t b) {
  const UChar32 c = unorm2_composePair(nfc, static_cast<UChar32>(a), static_cast<UChar32>(b));
  return c >= 0 && is_known_in(static_cast<char32_t>(c), kVersion) ? static_cast<char32_t>(c) : 0;
}

// Joins each mark to the last starter where that is not blocked, in place.
void compose(std::vector<Part>& parts) {
  const UNormalizer2* nfc = normalizer(false);
  constexpr std::size_t kNone = ~std::size_t{0};
  std::size_t starter = kNone;  // of the parts written
  std::uint8_t last_class = 0;  // of the part written last, when it is not the starter
  std::size_t written = 0;
  for (const Part part : parts) {
    if (starter != kNone) {
      const bool adjacent = written == starter + 1;
      if (adjacent || last_class < part.combining_class) {
        if (const char32_t joined = compose_pair(nfc, parts[starter].c, part.c); joined != 0) {
          parts[starter].c = joined;
          parts[starter].takes += part.takes;
          continue;
        }
      }
    }
    if (part.combining_class == 0) starter = written;
    last_class = part.combining_class;
    parts[written++] = part;
  }
  parts.resize(written);
}

}  // namespace

std::uint8_t combining_class(char32_t c) {
  const std::uint8_t ccc = u_getCombiningClass(static_cast<UChar32>(c));
  return ccc != 0 && is_known_in(c, kVersion) ? ccc : 0;
}

void append_decomposition(std::u32string& out, char32_t c, bool compatibility) {
  std::array<UChar, 32> units;  // the longest decomposition has 18
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t size =
      c < 0x80 ? -1
               : unorm2_getDecomposition(normalizer(compatibility), static_cast<UChar32>(c),
                                         units.data(), units.size(), &status);
  if (size < 0 || U_FAILURE(status) != 0 || !is_known_in(c, kVersion)) {
    out += c;
    return;
  }
  for (std::int32_t i = 0; i < size;) {
    UChar32 next = 0;
    U16_NEXT_UNSAFE(units, i, next);
    out += static_cast<char32_t>(next);
  }
}

void normalize(SourcedChars& chars, NormalForm form) {
  std::vector<Part> parts =
      decompose(chars, form == NormalForm::kNfkc || form == NormalForm::kNfkd);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) compose(parts);
  SourcedChars result;
  result.reserve(parts.size());
  std::size_t taken = 0;
  for (const Part& part : parts) {
    // The very first character of a text always takes one.
    const std::size_t at = part.takes > 0 || taken == 0 ? taken : taken - 1;
    result.push_back({part.c, chars[at].source});
    taken += part.takes;
  }
  chars = std::move(result);
}

}  // namespace trireme::text
