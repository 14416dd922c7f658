#include "trireme/parallel/pipeline/print.h"

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;

// Foreground colours of a terminal.
const char* color_of(ActionKind kind) {
  switch (kind) {
    case kForward:
      return "\x1b[34m";  // blue
    case kBackward:
    case kBackwardInput:
      return "\x1b[36m";  // cyan
    case kBackwardWeight:
      return "\x1b[32m";  // green
    default:
      return "\x1b[2m";  // faint
  }
}
constexpr const char* kFaultColor = "\x1b[1;31m";
constexpr const char* kPlain = "\x1b[0m";

struct Cell {
  std::string text;
  const char* color = nullptr;
};
using Row = std::vector<Cell>;

std::string lines(const std::vector<Row>& rows, const GridOptions& options) {
  size_t width = 1;
  for (const Row& row : rows) {
    for (const Cell& cell : row) width = std::max(width, cell.text.size());
  }
  const size_t label = std::to_string(rows.size() - 1).size();
  std::string text;
  for (size_t rank = 0; rank < rows.size(); ++rank) {
    std::string head = std::to_string(rank);
    head.insert(0, label - head.size(), ' ');
    text += "rank " + head + " |";
    size_t column = head.size() + 7;
    for (size_t i = 0; i < rows[rank].size(); ++i) {
      const Cell& cell = rows[rank][i];
      const bool last = i + 1 == rows[rank].size();
      const size_t room = last ? 0 : 4;  // of the dots
      if (options.max_columns > 0 &&
          column + 1 + width + room > static_cast<size_t>(options.max_columns)) {
        text += " ...";
        break;
      }
      const bool paint = options.color && cell.color != nullptr;
      text += " ";
      if (paint) text += cell.color;
      text += cell.text;
      if (paint) text += kPlain;
      if (!last) text.append(width - cell.text.size(), ' ');
      column += 1 + width;
    }
    text += "\n";
  }
  return text;
}

double shortest(const Simulation& simulation) {
  double least = 0;
  for (const auto& rank : simulation.ranks) {
    for (const TimedAction& timed : rank) {
      const double took = timed.end - timed.start;
      if (is_compute(timed.action.kind) && took > 0 && (least == 0 || took < least)) least = took;
    }
  }
  return least > 0 ? least : 1;
}

}  // namespace

std::string time_grid(const Schedule& schedule, const Simulation& simulation,
                      const GridOptions& options) {
  const double slot = options.slot_time > 0 ? options.slot_time : shortest(simulation);
  std::vector<Row> rows;
  for (int rank = 0; rank < schedule.stages(); ++rank) {
    Row& row = rows.emplace_back();
    for (const TimedAction& timed : simulation.ranks[static_cast<size_t>(rank)]) {
      if (!is_compute(timed.action.kind)) continue;
      const auto start =
          std::max(static_cast<size_t>(std::llround(timed.start / slot)), row.size());
      const auto end = std::max(static_cast<size_t>(std::llround(timed.end / slot)), start + 1);
      row.resize(start, Cell{"."});
      const char* color = color_of(timed.action.kind);
      row.push_back({action_text(schedule, rank, timed.action), color});
      row.resize(end, Cell{"---", color});
    }
  }
  return lines(rows, options);
}

std::string order_grid(const Schedule& schedule, const Fault* fault, const GridOptions& options) {
  std::vector<Row> rows;
  for (int rank = 0; rank < schedule.stages(); ++rank) {
    Row& row = rows.emplace_back();
    const std::vector<Action>& list = schedule.actions[static_cast<size_t>(rank)];
    const auto wrong = [&](int index) {
      return fault != nullptr && fault->rank == rank && fault->index == index;
    };
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string text = action_text(schedule, rank, list[i]);
      row.push_back(wrong(static_cast<int>(i)) ? Cell{"[" + text + "]", kFaultColor}
                                               : Cell{text, color_of(list[i].kind)});
    }
    if (wrong(-1)) row.push_back({"[missing]", kFaultColor});
  }
  std::string text = rows.empty() ? "" : lines(rows, options);
  if (fault != nullptr) text += cat("rank ", fault->rank, ": ", fault->message, "\n");
  return text;
}

Json chrome_trace(const Schedule& schedule, const std::vector<TraceProcess>& processes) {
  Json events = Json::array();
  int pid = 0;
  for (const TraceProcess& process : processes) {
    events.push_back(
        {{"ph", "M"}, {"name", "process_name"}, {"pid", pid}, {"args", {{"name", process.name}}}});
    const double us = process.seconds_per_unit * 1e6;
    for (int rank = 0; rank < static_cast<int>(process.ranks.size()); ++rank) {
      // Two rows a rank: what it computes, what it sends.
      for (const int row : {0, 1}) {
        events.push_back({{"ph", "M"},
                          {"name", "thread_name"},
                          {"pid", pid},
                          {"tid", 2 * rank + row},
                          {"args", {{"name", cat("rank ", rank, row == 0 ? "" : " sends")}}}});
      }
      for (const TimedAction& timed : process.ranks[static_cast<size_t>(rank)]) {
        const Action& action = timed.action;
        if (is_message(action.kind) && !is_send(action.kind)) continue;
        events.push_back(
            {{"ph", "X"},
             {"name", action_text(schedule, rank, action)},
             {"cat", kind_text(action.kind)},
             {"pid", pid},
             {"tid", 2 * rank + (is_send(action.kind) ? 1 : 0)},
             {"ts", timed.start * us},
             {"dur", (timed.end - timed.start) * us},
             {"args", {{"micro_batch", action.micro_batch}, {"chunk", action.chunk}}}});
      }
    }
    ++pid;
  }
  return {{"traceEvents", std::move(events)}, {"displayTimeUnit", "ms"}};
}

}  // namespace trireme::parallel::pipeline
