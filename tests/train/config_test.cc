#include "trireme/train/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/train/fake_task.h"
#include "trireme/base/error.h"

namespace trireme::train {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string refusal(const testing::Settings& settings) {
  try {
    Json effective;
    testing::make_config(settings, &effective);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "taken: " << ::testing::PrintToString(settings);
  return "";
}

TEST(TrainConfig, WhatIsNotThereIsAnErrorThatSaysSo) {
  EXPECT_THAT(
      refusal({"checkpoint.async=true"}),
      AllOf(HasSubstr("checkpoint.async"), HasSubstr("is not in this build"), HasSubstr("use ")));
}

TEST(TrainConfig, OutOfRangeNamesKeyAndLimit) {
  for (const auto& [setting, word] : {std::pair{"optim.lr=0", "above 0"},
                                      {"optim.lr=nan", "optim.lr"},
                                      {"optim.beta1=1", "below 1"},
                                      {"optim.clip_norm=-1", "at least 0"},
                                      {"train.steps=-1", "at least 0"},
                                      {"parallel.zero=4", "at most 3"},
                                      {"model.hidden_dropout=1", "below 1"},
                                      {"model.attention_dropout=-0.5", "at least 0"},
                                      {"data.max_length=7", "at least 8"},
                                      {"comm.timeout_s=0", "above 0"},
                                      {"checkpoint.keep=0", "at least 1"},
                                      {"train.precision=fp8", "bf16"},
                                      {"optim.schedule=linera", "linear"},
                                      {"data.max_length=65", "data.micro_batch_tokens"},
                                      {"train.steps=1.5", "train.steps"},
                                      {"checkpoint.every=2", "checkpoint.dir"},
                                      {"train.early_stop_patience=2", "data.dev"}}) {
    const std::string key(setting, std::string(setting).find('='));
    EXPECT_THAT(refusal({setting}), AllOf(HasSubstr(key), HasSubstr(word))) << setting;
  }
}

TEST(TrainConfig, KeysOfAnotherTask) {
  EXPECT_THAT(refusal({"data.split=0.1"}),
              AllOf(HasSubstr("data.split"), HasSubstr("train.task = \"lm\"")));
  EXPECT_THAT(refusal({"model.tokenizer=t"}), HasSubstr("model.tokenizer"));
  EXPECT_THAT(refusal({"train.task=lm", "data.answerable_only=true"}),
              AllOf(HasSubstr("data.answerable_only"), HasSubstr("train.task = \"qa\"")));
  EXPECT_THAT(refusal({"train.task=lm", "data.split=0.1", "data.dev=d"}),
              AllOf(HasSubstr("data.split"), HasSubstr("data.dev")));
  EXPECT_THAT(refusal({"train.task=ml"}), AllOf(HasSubstr("train.task"), HasSubstr("lm")));
  Json effective;  // a split is something to evaluate on
  EXPECT_NO_THROW(testing::make_config(
      {"train.task=lm", "data.split=0.1", "train.early_stop_patience=2"}, &effective));
}

TEST(TrainConfig, TwoKeysForOneThing) {
  Json effective;
  // One that is given on the command line beats the file's other one.
  RunConfig config;
  Schema schema;
  bind(schema, &config);
  schema.load_text(
      "[train]\nsteps = 5\n[data]\ntrain = \"a\"\nglobal_batch_samples = 3\n"
      "[model]\nconfig = \"c\"\n",
      "run.toml");
  schema.set("train.epochs=2");
  schema.set("data.global_batch_tokens=500");
  check(schema, config);
  EXPECT_EQ(config.train.steps, 0);
  EXPECT_EQ(config.train.epochs, 2);
  EXPECT_EQ(config.data.global_batch_samples, 0);

  EXPECT_THAT(refusal({"train.epochs=2"}),
              AllOf(HasSubstr("train.steps"), HasSubstr("train.epochs")));
  EXPECT_THAT(refusal({"train.steps=0"}),
              AllOf(HasSubstr("train.steps"), HasSubstr("train.epochs")));
  EXPECT_THAT(refusal({"model.path=a"}), AllOf(HasSubstr("model.path"), HasSubstr("model.config")));
}

TEST(TrainConfig, ResumingNamesTheKeyThatDiffers) {
  const Json saved = {{"optim", {{"lr", 0.1}}},
                      {"comm", {{"timeout_s", 3.0}}},
                      {"train", {{"stop_at", 3}}},
                      {"parallel", {{"zero", 0}, {"recompute", false}}}};
  Json now = saved;
  now["comm"]["timeout_s"] = 5.0;
  now["train"]["stop_at"] = 9;
  now["parallel"] = {{"zero", 3}, {"recompute", true}};  // the layout
  now["optim"]["new_key"] = 1;                           // a newer program's
  EXPECT_NO_THROW(check_resumable(saved, now, "c"));
  now["optim"]["lr"] = 0.2;
  try {
    check_resumable(saved, now, "runs/a/step-00000003");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("optim.lr = 0.2"), HasSubstr("0.1"),
                                HasSubstr("runs/a/step-00000003")));
  }
}

}  // namespace
}  // namespace trireme::train
