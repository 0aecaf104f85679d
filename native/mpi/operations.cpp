#include "operations.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace versemi_mpi {

namespace {

/// Bytes up to which an array goes to every rank at once: one message's latency instead of two, for more bytes.
constexpr std::size_t short_bytes = 16384;

/// Largest message of one call, whose count is an int.
constexpr std::size_t largest_bytes = std::size_t{1} << 30;

}  // namespace

void Operation::check(int code) {
  if (code == MPI_SUCCESS || !failure_.empty()) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  failure_ = length > 0 ? std::string(text, static_cast<std::size_t>(length)) : "an error of MPI without a text";
}

void Operation::send(const void* data, std::size_t bytes, int to) {
  const char* from = static_cast<const char*>(data);
  for (std::size_t at = 0; at < bytes || at == 0; at += largest_bytes) {
    const std::size_t part = std::min(largest_bytes, bytes - at);
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(from + at, static_cast<int>(part), MPI_BYTE, to, tag_, group_.communicator, &request));
    requests_.push_back(request);
    sources_.push_back(-1);
  }
  bytes_sent_ += bytes;
}

void Operation::receive_from(void* data, std::size_t bytes, int from) {
  char* into = static_cast<char*>(data);
  for (std::size_t at = 0; at < bytes || at == 0; at += largest_bytes) {
    const std::size_t part = std::min(largest_bytes, bytes - at);
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Irecv(into + at, static_cast<int>(part), MPI_BYTE, from, tag_, group_.communicator, &request));
    requests_.push_back(request);
    sources_.push_back(from);
  }
}

bool Operation::advance() {
  while (failure_.empty()) {
    bool all = true;
    for (MPI_Request& request : requests_) {
      if (request == MPI_REQUEST_NULL) continue;
      int done = 0;
      check(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
      all = all && done != 0;
    }
    if (!receive() || !all || !failure_.empty()) break;
    requests_.clear();
    sources_.clear();
    if (next()) return true;
  }
  return !failure_.empty();
}

std::vector<int> Operation::missing() const {
  std::vector<int> ranks;
  for (std::size_t i = 0; i < requests_.size(); i++)
    if (requests_[i] != MPI_REQUEST_NULL && sources_[i] >= 0) ranks.push_back(sources_[i]);
  return ranks;
}

AllReduceSum::AllReduceSum(const Group& group, int tag, float* values, std::size_t count)
    : Operation(group, tag), values_(values), count_(count), short_(count * sizeof(float) <= short_bytes) {}

bool AllReduceSum::next() {
  const int phase = phase_++;
  if (short_) {
    if (phase == 0) gather_all();
    if (phase == 1) sum_into(values_, 0, count_);
    return phase == 1;
  }
  if (phase == 0) scatter_parts();
  if (phase == 1) share_part();
  return phase == 2;
}

void AllReduceSum::gather_all() {
  received_.resize(count_ * static_cast<std::size_t>(group_.size));
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank)
      receive_from(received_.data() + count_ * static_cast<std::size_t>(rank), count_ * sizeof(float), rank);
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank) send(values_, count_ * sizeof(float), rank);
}

void AllReduceSum::scatter_parts() {
  const std::size_t own = begin_of(group_.rank + 1) - begin_of(group_.rank);
  received_.resize(own * static_cast<std::size_t>(group_.size));
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank)
      receive_from(received_.data() + own * static_cast<std::size_t>(rank), own * sizeof(float), rank);
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank)
      send(values_ + begin_of(rank), (begin_of(rank + 1) - begin_of(rank)) * sizeof(float), rank);
}

void AllReduceSum::sum_into(float* target, std::size_t begin, std::size_t count) {
  std::memcpy(received_.data() + count * static_cast<std::size_t>(group_.rank), values_ + begin, count * sizeof(float));
  for (std::size_t i = 0; i < count; i++) {
    double sum = 0;
    for (int rank = 0; rank < group_.size; rank++)
      sum += static_cast<double>(received_[count * static_cast<std::size_t>(rank) + i]);
    target[i] = static_cast<float>(sum);
  }
}

void AllReduceSum::share_part() {
  const std::size_t begin = begin_of(group_.rank);
  const std::size_t own = begin_of(group_.rank + 1) - begin;
  sum_into(values_ + begin, begin, own);
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank)
      receive_from(values_ + begin_of(rank), (begin_of(rank + 1) - begin_of(rank)) * sizeof(float), rank);
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank) send(values_ + begin, own * sizeof(float), rank);
}

AllGather::AllGather(const Group& group, int tag, const double* values, std::size_t count, double* gathered)
    : Operation(group, tag), values_(values), count_(count), gathered_(gathered) {}

bool AllGather::next() {
  if (sent_) return true;
  sent_ = true;
  const std::size_t bytes = count_ * sizeof(double);
  std::memcpy(gathered_ + count_ * static_cast<std::size_t>(group_.rank), values_, bytes);
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank) receive_from(gathered_ + count_ * static_cast<std::size_t>(rank), bytes, rank);
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank) send(values_, bytes, rank);
  return false;
}

Broadcast::Broadcast(const Group& group, int tag, float* values, std::size_t count, int root)
    : Operation(group, tag), values_(values), count_(count), root_(root) {}

bool Broadcast::next() {
  if (sent_) return true;
  sent_ = true;
  if (group_.rank != root_) receive_from(values_, count_ * sizeof(float), root_);
  else
    for (int rank = 0; rank < group_.size; rank++)
      if (rank != root_) send(values_, count_ * sizeof(float), rank);
  return false;
}

Exchange::Exchange(const Group& group, int tag, std::string message)
    : Operation(group, tag),
      messages_(static_cast<std::size_t>(group.size)),
      arrived_(static_cast<std::size_t>(group.size), false) {
  messages_[static_cast<std::size_t>(group.rank)] = std::move(message);
  arrived_[static_cast<std::size_t>(group.rank)] = true;
}

bool Exchange::next() {
  if (sent_) return true;
  sent_ = true;
  const std::string& own = messages_[static_cast<std::size_t>(group_.rank)];
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank) send(own.data(), own.size(), rank);
  return false;
}

bool Exchange::receive() {
  if (!sent_) return true;
  bool all = true;
  for (int rank = 0; rank < group_.size; rank++) {
    const std::size_t i = static_cast<std::size_t>(rank);
    if (arrived_[i]) continue;
    int found = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    check(MPI_Improbe(rank, tag_, group_.communicator, &found, &message, &status));
    if (found == 0) {
      all = false;
      continue;
    }
    int bytes = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &bytes));
    messages_[i].resize(static_cast<std::size_t>(std::max(0, bytes)));
    // Short: the message has been announced, and what is left of it comes at once.
    check(MPI_Mrecv(messages_[i].data(), bytes, MPI_BYTE, &message, MPI_STATUS_IGNORE));
    arrived_[i] = true;
  }
  return all;
}

std::vector<int> Exchange::missing() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < group_.size; rank++)
    if (!arrived_[static_cast<std::size_t>(rank)]) ranks.push_back(rank);
  return ranks;
}

}  // namespace versemi_mpi
