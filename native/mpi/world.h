// The thread that makes all calls of MPI in a process (MPI_THREAD_FUNNELED is enough), carries operations on beside the thread
// that computes, and notices ranks that are lost. Nothing here prints or throws.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "operations.h"

namespace versemi_mpi {

/// An operation and what became of it.
struct Job {
  std::unique_ptr<Operation> operation;
  bool done = false;
  /// The rank that does not answer any more; -1: none.
  int lost_rank = -1;
  /// Whether this process was told to end while it waited.
  bool told_to_end = false;
  /// What MPI said where a message failed.
  std::string failure;
  /// Seconds for which a rank that is waited for has not answered; what `lost_rank` follows from.
  double silent_seconds = 0;
  /// Called on the thread of MPI when it is done; may be empty.
  std::function<void()> on_done;
};

class World {
 public:
  /// @param lost_seconds a rank that is waited for and does not answer so long is lost
  explicit World(double lost_seconds);
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Empty, or why MPI could not be started.
  const std::string& start_failure() const { return start_failure_; }
  int rank() const { return group_.rank; }
  int size() const { return group_.size; }
  int local_rank() const { return local_rank_; }

  /// @param make the operation, given the group and its tag. Every rank submits the same operations in the same order.
  std::shared_ptr<Job> submit(const std::function<std::unique_ptr<Operation>(const Group&, int)>& make,
                              std::function<void()> on_done = {});
  void wait(Job& job);

  /// From now on asks the other ranks whether they live, also while this process waits for something else than them, and writes the number
  /// of one that is lost, plus 1, to *alarm; nullptr: no more.
  void watch_all(std::int32_t* alarm);
  /// The rank that `watch_all` has found lost, once the alarm is set; does not change any more.
  const Job& found_lost() const { return found_lost_; }

  std::uint64_t bytes_sent() const { return bytes_sent_; }
  std::uint64_t calls() const { return calls_; }

  /// Ends all ranks. Does not return.
  [[noreturn]] void abort(int status);
  /// Ends the thread. @param finalize whether every rank does so, after its last operation
  void stop(bool finalize);

 private:
  using Clock = std::chrono::steady_clock;

  /// What is known of another rank while something of it is waited for.
  struct Peer {
    Clock::time_point asked;
    Clock::time_point heard;
    bool is_asked = false;
  };

  void run();
  void start();
  bool carry_on();
  void answer();
  void watch(Job& job, const std::vector<int>& ranks, Clock::time_point since);
  void watch_for_alarm();
  void finish(const std::shared_ptr<Job>& job);

  struct Active {
    std::shared_ptr<Job> job;
    Clock::time_point since;
  };

  const double lost_seconds_;
  std::string start_failure_;
  Group group_;
  /// For the question whether a rank still lives, and its answer.
  MPI_Comm watch_ = MPI_COMM_NULL;
  int local_rank_ = 0;
  /// Whether the ranks of this machine have a core each.
  bool has_core_ = false;
  int next_tag_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::vector<std::shared_ptr<Job>> submitted_;
  /// Whether `wait` is being called.
  bool is_waited_for_ = false;
  Clock::time_point waited_since_;
  std::int32_t* alarm_ = nullptr;
  Clock::time_point alarm_since_;
  bool started_ = false;
  bool stopping_ = false;
  bool finalize_ = false;
  bool stopped_ = false;

  std::atomic<std::uint64_t> bytes_sent_{0};
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<int> abort_status_{-1};

  // Of the thread of MPI alone.
  std::list<Active> active_;
  /// Kept: a message that comes after all is written where it was to go.
  std::vector<std::shared_ptr<Job>> failed_;
  std::vector<Peer> peers_;
  /// Its ranks are all others.
  std::vector<int> others_;
  Job found_lost_;
  std::vector<MPI_Request> answers_;
  std::thread thread_;
};

}  // namespace versemi_mpi
