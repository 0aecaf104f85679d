// Which rows of a kernel table a device may take: those that VERSEMI_ROWS does not forbid, or the one that a test asks for.
#ifndef VERSEMI_ROW_FILTER_H
#define VERSEMI_ROW_FILTER_H

#include <cstdint>
#include <string>
#include <vector>

namespace versemi {

// What a row says to a call.
struct row_answer {
  const char* name;
  const char* reason;  // nullptr: it takes the call
};

class row_filter {
 public:
  // forbidden: names of rows, separated by commas.
  explicit row_filter(const std::string& forbidden = "") {
    for (std::size_t begin = 0; begin < forbidden.size();) {
      const std::size_t comma = forbidden.find(',', begin), end = comma == std::string::npos ? forbidden.size() : comma;
      if (end > begin) forbidden_.push_back(forbidden.substr(begin, end - begin));
      begin = end + 1;
    }
  }

  const std::vector<std::string>& forbidden() const { return forbidden_; }

  // Only the row of this name from now on; "": any again.
  void use(const std::string& name) { wanted_ = name; }

  // What each of the `count` rows of an op says. row(i): a row, with its name; own_reason(row): its own, or nullptr.
  template <typename Row, typename Reason>
  std::vector<row_answer> answers(std::int32_t count, Row row, Reason own_reason) const {
    std::vector<row_answer> result;
    for (std::int32_t i = 0; i < count; i++) result.push_back({row(i).name, reason_of(row(i), own_reason)});
    return result;
  }

  // The place of the first of these rows that takes the call; -1 where none does, with every reason in `reasons`.
  template <typename Row, typename Reason>
  std::int32_t choose(std::int32_t count, Row row, Reason own_reason, std::string* reasons) const {
    for (std::int32_t i = 0; i < count; i++)
      if (reason_of(row(i), own_reason) == nullptr) return i;
    for (const row_answer& each : answers(count, row, own_reason))
      *reasons += std::string(reasons->empty() ? "" : "; ") + each.name + ": " + each.reason;
    if (reasons->empty()) *reasons = "the device has no kernel for this op";
    return -1;
  }

 private:
  template <typename Row, typename Reason>
  const char* reason_of(const Row& row, Reason own_reason) const {
    for (const std::string& each : forbidden_)
      if (each == row.name) return "forbidden by VERSEMI_ROWS";
    if (!wanted_.empty() && wanted_ != row.name) return "another row was asked for";
    return own_reason(row);
  }

  std::vector<std::string> forbidden_;
  std::string wanted_;
};

}  // namespace versemi

#endif
