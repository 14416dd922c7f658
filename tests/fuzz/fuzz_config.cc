// TOML configuration: what is accepted prints to a text that reads back to the same values.
#include "tests/fuzz/fuzz.h"
#include "trireme/base/config.h"

namespace {

struct Values {
  std::int64_t steps = 1;
  double lr = 0.1;
  bool flag = false;
  std::string name;
  std::vector<std::string> list;

  void bind(trireme::Schema& schema) {
    schema.add("train.steps", &steps, trireme::Range<std::int64_t>{.min = 0, .max = 1000000},
               "Steps.");
    schema.add("optim.lr", &lr, trireme::Range<double>{.above = 0}, "Rate.");
    schema.add("train.flag", &flag, "Flag.");
    schema.add("model.name", &name, "Name.");
    schema.add("model.list", &list, "List.");
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return trireme::fuzz::one_input(data, size, [](std::string_view text) {
    Values values, again;
    trireme::Schema schema, copy;
    values.bind(schema);
    again.bind(copy);
    schema.load_text(text, "fuzz.toml");
    copy.load_text(schema.print(), "printed.toml");
    if (copy.print() != schema.print()) std::abort();
  });
}
