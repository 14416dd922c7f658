#include "trireme/models/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/models/golden.h"
#include "trireme/base/error.h"
#include "trireme/models/bert.h"

namespace trireme::models {
namespace {

using ::testing::HasSubstr;

BertConfig small() {
  BertConfig config;
  config.vocab_size = 61;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.intermediate_size = 48;
  config.max_position_embeddings = 40;
  return config;
}

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

const io::SafetensorsFile& qa_file() {
  static const io::SafetensorsFile file(trireme::testing::golden_folder("bert/qa") +
                                        "/model.safetensors");
  return file;
}

TEST(Weights, AHeadMayBeMissingAndIsInitialised) {
  BertForSequenceClassification model(small());
  nn::allocate_values(model.units(), at::kFloat);
  const LoadResult result = load_pretrained(qa_file(), model.units(), 1);
  EXPECT_THAT(result.unexpected,
              ::testing::UnorderedElementsAre("qa_outputs.weight", "qa_outputs.bias"));
  EXPECT_EQ(result.missing.size(), 4u);  // pooler and classifier
  for (const nn::UnitParams& unit : model.units()) {
    for (const nn::Param* param : unit.params) {
      if (param->spec.name == "classifier.weight") {
        EXPECT_NEAR(param->value.std().item<double>(), 0.02, 0.008);
      }
    }
  }
  EXPECT_THAT(error_of([&] { load_complete(qa_file(), model.units()); }),
              HasSubstr("lacks 'bert.pooler.dense.weight'"));
}

// A file as TensorFlow's converters leave it: norms have a gamma and a beta.
class TensorflowNames final : public io::TensorSource {
 public:
  TensorflowNames() {
    for (io::TensorInfo info : qa_file().tensors()) {
      names_[renamed(info.name)] = info.name;
      info.name = renamed(info.name);
      tensors_.push_back(info);
    }
  }
  const std::string& path() const override { return qa_file().path(); }
  const std::vector<io::TensorInfo>& tensors() const override { return tensors_; }
  const io::TensorInfo* find(std::string_view name) const override {
    for (const io::TensorInfo& info : tensors_)
      if (info.name == name) return &info;
    return nullptr;
  }
  io::TensorView view(std::string_view name) const override {
    return qa_file().view(names_.at(std::string(name)));
  }

 private:
  static std::string renamed(std::string name) {
    if (const size_t at = name.find("LayerNorm.weight"); at != std::string::npos) {
      name.replace(at, std::string::npos, "LayerNorm.gamma");
    } else if (const size_t bias = name.find("LayerNorm.bias"); bias != std::string::npos) {
      name.replace(bias, std::string::npos, "LayerNorm.beta");
    }
    return name;
  }
  std::vector<io::TensorInfo> tensors_;
  std::map<std::string, std::string> names_;
};

TEST(Weights, NormsMayHaveTensorflowsNames) {
  BertForQuestionAnswering model(small()), same(small());
  nn::allocate_values(model.units(), at::kFloat);
  nn::allocate_values(same.units(), at::kFloat);
  load_complete(TensorflowNames(), model.units());
  load_complete(qa_file(), same.units());
  const auto units = model.units(), same_units = same.units();
  for (size_t u = 0; u < units.size(); ++u) {
    for (size_t p = 0; p < units[u].params.size(); ++p) {
      EXPECT_TRUE(units[u].params[p]->value.equal(same_units[u].params[p]->value))
          << units[u].params[p]->spec.name;
    }
  }
}

TEST(Weights, RefusesAnotherModel) {
  BertConfig other = small();
  other.vocab_size = 62;
  BertForQuestionAnswering wrong_vocabulary(other);
  nn::allocate_values(wrong_vocabulary.units(), at::kFloat);
  const std::string shapes =
      error_of([&] { load_pretrained(qa_file(), wrong_vocabulary.units(), 1); });
  EXPECT_THAT(shapes, HasSubstr("bert.embeddings.word_embeddings.weight"));
  EXPECT_THAT(shapes, HasSubstr("[61, 32]"));
  EXPECT_THAT(shapes, HasSubstr("[62, 32]"));
  other = small();
  other.num_hidden_layers = 3;
  BertForQuestionAnswering deeper(other);
  nn::allocate_values(deeper.units(), at::kFloat);
  EXPECT_THAT(error_of([&] { load_pretrained(qa_file(), deeper.units(), 1); }),
              HasSubstr("bert.encoder.layer.2."));
}

TEST(Weights, ATensorAtATimeIsTheSame) {
  BertForSequenceClassification model(small());
  const auto source = std::make_shared<io::SafetensorsFile>(
      trireme::testing::golden_folder("bert/qa") + "/model.safetensors");
  const PretrainedTensors tensors(source, model.units(), 3);  // without storage
  EXPECT_EQ(tensors.result().missing.size(), 4U);
  nn::allocate_values(model.units(), at::kFloat);
  load_pretrained(*source, model.units(), 3);
  for (const nn::Param* param : nn::params_once(model.units())) {
    for (const nn::PartView& part : nn::part_views(*param, param->value)) {
      at::Tensor whole = at::zeros_like(part.view);
      tensors.read(part.part->name, whole);
      EXPECT_TRUE(at::equal(whole, part.view)) << part.part->name;
    }
  }
  BertForPreTraining deeper([] {
    BertConfig config = small();
    config.num_hidden_layers = 3;
    return config;
  }());
  EXPECT_THAT(error_of([&] { PretrainedTensors(source, deeper.units(), 3); }),
              HasSubstr("bert.encoder.layer.2."));
}

// A tensor-parallel rank takes its slices of what the file has.
TEST(Weights, ACutParamTakesItsSlices) {
  const std::string kernel = "bert.encoder.layer.0.attention.self.query.weight";
  nn::ParamSpec spec = nn::matrix_spec("qkv", {{kernel, 32}}, 32, 0.02);
  spec.tp = nn::TpKind::kShard;
  nn::Param whole(spec), cut(spec);
  nn::allocate_values({{"whole", {&whole}}}, at::kFloat);
  nn::allocate_values({{"cut", {&cut}}}, at::kFloat, {1, 3});
  load_weights(qa_file(), {{"whole", {&whole}}});
  load_weights(qa_file(), {{"cut", {&cut}}});
  EXPECT_TRUE(at::equal(cut.value, whole.value.slice(0, 10, 21)));
}

// Contract 2: values follow (seed, name, index) alone, fused or not.
TEST(Weights, InitialValuesFollowNames) {
  BertForQuestionAnswering a(small()), b(small());
  nn::allocate_values(a.units(), at::kFloat);
  nn::allocate_values(b.units(), at::kFloat);
  init_weights(a.units(), 3);
  init_weights(b.units(), 3);
  const auto ua = a.units(), ub = b.units();
  for (size_t u = 0; u < ua.size(); ++u) {
    for (size_t p = 0; p < ua[u].params.size(); ++p) {
      EXPECT_TRUE(at::equal(ua[u].params[p]->value, ub[u].params[p]->value));
    }
  }
  init_weights(b.units(), 4);
  EXPECT_FALSE(at::equal(ua[0].params[0]->value, ub[0].params[0]->value));

  nn::ParamSpec spec;
  spec.name = "query";
  spec.shape = {32, 32};
  spec.parts = {{"bert.encoder.layer.1.attention.self.query.weight", 32}};
  nn::Param alone(spec);
  at::Tensor values = at::empty({32, 32});
  nn::init_param(alone, 3, values);
  for (const nn::Param* param : ua[2].params) {
    if (param->spec.parts.size() == 3 && param->spec.shape.size() == 2) {
      EXPECT_TRUE(at::equal(param->value.narrow(0, 0, 32), values));
    }
  }
}

TEST(Weights, InfosNameEveryPartOnce) {
  BertForPreTraining model(small());
  std::vector<std::string> names;
  for (const io::TensorInfo& info : tensor_infos(model.units())) names.push_back(info.name);
  EXPECT_THAT(names, ::testing::Contains("bert.encoder.layer.0.attention.self.key.bias"));
  EXPECT_THAT(names, ::testing::Not(::testing::Contains("cls.predictions.decoder.weight")));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace trireme::models
