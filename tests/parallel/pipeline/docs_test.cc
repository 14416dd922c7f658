// docs/pipeline-schedules.md is true: its file, its grids.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "trireme/base/files.h"
#include "trireme/parallel/pipeline/csv.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/print.h"

namespace trireme::parallel::pipeline {
namespace {

using ::testing::HasSubstr;

std::string page() {
  return read_file(std::string(TRIREME_SOURCE_DIR) + "/docs/pipeline-schedules.md");
}

// The indented block that holds `text`, without its indentation.
std::string block_with(const std::string& text) {
  std::istringstream in(page());
  std::string block;
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("    ", 0) == 0) {
      block += line.substr(4) + "\n";
    } else if (block.find(text) != std::string::npos) {
      return block;
    } else {
      block.clear();
    }
  }
  return block.find(text) != std::string::npos ? block : "";
}

TEST(PipelineDocs, TheFileIs1f1b) {
  const Schedule schedule = schedule_from_csv(block_with("micro_batches,4"), "page");
  EXPECT_EQ(schedule.actions, one_f_one_b(2, 4).actions);
  EXPECT_EQ(schedule.rank_of_chunk, (std::vector<int>{0, 1}));
}

TEST(PipelineDocs, TheGridsAreTrue) {
  for (const char* name : {"1f1b", "zb_h1"}) {
    const Schedule schedule = make_schedule(name, {2, 4});
    const std::string grid = time_grid(schedule, simulate(schedule, {}));
    EXPECT_EQ(block_with(grid.substr(0, grid.find('\n'))), grid) << name;
  }
  Schedule broken = gpipe(2, 2);
  std::swap(broken.actions[0][1], broken.actions[0][3]);
  const auto fault = find_fault(broken);
  ASSERT_TRUE(fault);
  EXPECT_EQ(block_with("[BW1]"), order_grid(broken, &*fault));
}

TEST(PipelineDocs, EverySchedulesNameIsInTheTable) {
  for (const std::string& name : schedule_names())
    EXPECT_THAT(page(), HasSubstr("| `" + name + "` |"));
}

}  // namespace
}  // namespace trireme::parallel::pipeline
