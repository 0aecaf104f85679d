// Which rows of a kernel table a device may take: those that VERSEMI_ROWS does not forbid, or the one that a test asks for.
#ifndef VERSEMI_ROW_FILTER_H
#define VERSEMI_ROW_FILTER_H

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

  // Why a row may not be taken, or nullptr.
  const char* refuses(const char* name) const {
    for (const std::string& each : forbidden_)
      if (each == name) return "forbidden by VERSEMI_ROWS";
    return wanted_.empty() || wanted_ == name ? nullptr : "another row was asked for";
  }

 private:
  std::vector<std::string> forbidden_;
  std::string wanted_;
};

}  // namespace versemi

#endif
