// Collectives as state machines over point-to-point messages that do not block: one thread carries any number of them on at
// once, so that a small sum does not wait behind the gradients of a whole network.
//
// Order of summation: element by element the values of rank 0, 1, ... size - 1, in double, rounded to float once. It does not depend
// on when messages arrive, nor on how a long array is cut. Each element is summed by one rank, or by all in the same way.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace versemi_mpi {

struct Group {
  MPI_Comm communicator = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
};

class Operation {
 public:
  /// @param tag the same for this operation on every rank
  Operation(const Group& group, int tag) : group_(group), tag_(tag) {}
  virtual ~Operation() = default;
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  /// Goes on as far as messages have come. @return true where it is done or has failed
  bool advance();
  /// Empty, or what MPI said of the message that failed.
  const std::string& failure() const { return failure_; }
  /// The ranks of which a message has not come yet.
  virtual std::vector<int> missing() const;
  std::uint64_t bytes_sent() const { return bytes_sent_; }

 protected:
  /// Called when all messages under way have come. @return true where there is nothing more to do
  virtual bool next() = 0;
  /// Called at every turn, for messages whose length is not known before. @return false while some have not come
  virtual bool receive() { return true; }
  void send(const void* data, std::size_t bytes, int to);
  void receive_from(void* data, std::size_t bytes, int from);
  void check(int code);

  const Group group_;
  const int tag_;

 private:
  std::vector<MPI_Request> requests_;
  /// Of each request the rank that it waits for; -1 for a message that is sent.
  std::vector<int> sources_;
  std::string failure_;
  std::uint64_t bytes_sent_ = 0;
};

/// values = sum over the ranks, in place. The values belong to the operation until it is done.
class AllReduceSum : public Operation {
 public:
  AllReduceSum(const Group& group, int tag, float* values, std::size_t count);

 protected:
  bool next() override;

 private:
  std::size_t begin_of(int rank) const { return count_ * static_cast<std::size_t>(rank) / static_cast<std::size_t>(group_.size); }
  void gather_all();
  void scatter_parts();
  void sum_into(float* target, std::size_t begin, std::size_t count);
  void share_part();

  float* values_;
  std::size_t count_;
  /// Short arrays go to all ranks as they are, and all add them up; of long ones each rank adds up one part.
  bool short_;
  int phase_ = 0;
  /// What the others sent of the elements that this rank adds up, one after the other in the order of the ranks.
  std::vector<float> received_;
};

/// The values of all ranks, in the order of the ranks.
class AllGather : public Operation {
 public:
  /// @param gathered [size * count]
  AllGather(const Group& group, int tag, const double* values, std::size_t count, double* gathered);

 protected:
  bool next() override;

 private:
  const double* values_;
  std::size_t count_;
  double* gathered_;
  bool sent_ = false;
};

/// values = those of the rank `root`, in place.
class Broadcast : public Operation {
 public:
  Broadcast(const Group& group, int tag, float* values, std::size_t count, int root);

 protected:
  bool next() override;

 private:
  float* values_;
  std::size_t count_;
  int root_;
  bool sent_ = false;
};

/// A message of every rank, of any length, in the order of the ranks.
class Exchange : public Operation {
 public:
  Exchange(const Group& group, int tag, std::string message);
  std::vector<int> missing() const override;
  const std::vector<std::string>& messages() const { return messages_; }

 protected:
  bool next() override;
  bool receive() override;

 private:
  std::vector<std::string> messages_;
  std::vector<bool> arrived_;
  bool sent_ = false;
};

}  // namespace versemi_mpi
