#include "trireme/text/tokenize_lines.h"

#include <istream>
#include <ostream>
#include <string>

#include "trireme/base/json.h"

namespace trireme::text {

int64_t tokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                       bool special) {
  int64_t texts = 0;
  std::string line;
  while (std::getline(in, line)) {
    const Encoding encoding = tokenizer.encode(line, {.add_special = special});
    Json offsets = Json::array(), tokens = Json::array();
    for (size_t i = 0; i < encoding.size(); ++i) {
      offsets.push_back({encoding.offsets[i].begin, encoding.offsets[i].end});
      tokens.push_back(tokenizer.id_to_token(encoding.ids[i]));
    }
    out << dump_json({{"ids", encoding.ids},
                      {"offsets", std::move(offsets)},
                      {"tokens", std::move(tokens)}})
        << '\n';
    ++texts;
  }
  return texts;
}

}  // namespace trireme::text
