#include "trireme/kernels/isa.h"

#include <gtest/gtest.h>

#include "tests/kernels/reference.h"

namespace trireme::kernels {
namespace {

std::vector<const isa::OpsTable*> tables() {
  std::vector<const isa::OpsTable*> found;
  for (const char* name : {"plain", "avx2", "avx512"}) {
    if (const isa::OpsTable* table = find_ops_table(name)) {
      found.push_back(table);
    } else {
      std::cout << "not on this processor: " << name << "\n";
    }
  }
  return found;
}

// The vectorised draws are Philox's, word by word, on every instruction set.
TEST(Isa, DrawsAreThePhiloxOfTheContract) {
  const Dropout dropout{0.37, dropout_site(SiteKind::kAttentionProbs, 9, 4)};
  const DropoutKey key{123456789, 77, {}, {}};
  const PhiloxKey words = philox_key(mix_seeds(key.seed, key.step));
  isa::RowDropout rows;
  rows.key0 = words[0];
  rows.key1 = words[1];
  rows.site = dropout.site;
  const int64_t n = 300;
  for (const isa::OpsTable* table : tables()) {
    std::vector<uint16_t> draws(512, 0);
    table->draws(rows, 11, 2047, draws.data(), n);
    for (int64_t e = 0; e < n; ++e) {
      const PhiloxCounter block =
          philox4x32<7>({static_cast<uint32_t>(e / 8), 2047, 11, dropout.site}, words);
      const uint32_t word = block[e % 8 / 2];
      ASSERT_EQ(draws[e], e % 2 == 0 ? word & 0xffff : word >> 16)
          << table->name << " element " << e;
    }
  }
}

// All tables compute the same function to rounding; sizes with every tail length.
TEST(Isa, TablesAgree) {
  at::manual_seed(1);
  const isa::OpsTable& plain = *find_ops_table("plain");
  for (const isa::OpsTable* table : tables()) {
    for (int64_t n = 1; n <= 35; ++n) {
      const at::Tensor h = at::randn({3, n}), bias = at::randn({n});
      at::Tensor a = at::zeros({3, n}), b = at::zeros({3, n});
      for (const bool tanh_form : {false, true}) {
        plain.fp32.bias_gelu(tanh_form, h.data_ptr(), bias.data_ptr(), a.data_ptr(), n, 0, 3);
        table->fp32.bias_gelu(tanh_form, h.data_ptr(), bias.data_ptr(), b.data_ptr(), n, 0, 3);
        EXPECT_LT((a - b).abs().max().item<float>(), 1e-6) << table->name << " " << n;
      }
    }
  }
}

// bf16 is rounded to nearest, ties to even, as ATen does it; NaN stays NaN and infinities stay.
TEST(Isa, Bf16RoundsAsATen) {
  std::vector<float> values = {0.0f, -0.0f, 1.0f, INFINITY, -INFINITY, NAN, 3.3895314e38f, 1e-40f};
  for (int i = 0; i < 2000; ++i) {
    uint32_t bits = static_cast<uint32_t>(random_bits(5, 5, i));
    if (i % 3 == 0) bits = (bits & 0xffff0000u) | 0x8000u;  // ties
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    values.push_back(x);
  }
  const auto n = static_cast<int64_t>(values.size());
  const at::Tensor expected = at::tensor(values).to(at::kBFloat16);
  for (const isa::OpsTable* table : tables()) {
    at::Tensor out = at::zeros({n}, at::kBFloat16);
    table->bf16.store_rows(values.data(), n, out.data_ptr(), n, 1, n);
    for (int64_t i = 0; i < n; ++i) {
      const float want = expected[i].item<float>(), got = out[i].item<float>();
      ASSERT_TRUE(std::isnan(want) ? std::isnan(got) : want == got)
          << table->name << " " << values[i];
    }
  }
}

}  // namespace
}  // namespace trireme::kernels
