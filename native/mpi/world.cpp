#include "world.h"

#include <csignal>
#include <cstdlib>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <utility>

namespace versemi_mpi {

namespace {

using namespace std::chrono_literals;

constexpr int question_tag = 1;
constexpr int answer_tag = 2;
/// Tags are used again after so many operations: the smallest upper bound that MPI guarantees is 32767.
constexpr int tags = 30000;

/// What is under way is looked at again at once for so long after it went on, and with naps between looks afterwards: the thread must
/// not take a core from what computes. (To yield instead would, on a busy machine, give the core away for milliseconds.)
constexpr auto busy = 30us;
/// Who waits leaves its core to this thread, which need not sleep at first: to wake up takes longer than most sums.
constexpr auto spin = 2ms;
/// While somebody waits for it.
constexpr auto nap = 30us;
/// While nobody does: gradients are summed beside the computation of the next ones, and each look costs that some microseconds.
constexpr auto long_nap = 300us;
/// Between looks at questions of other ranks, where nothing is under way.
constexpr auto idle = 2ms;

/// A rank that has been waited for so long is asked whether it lives, and again in this rhythm.
constexpr auto patience = 1s;
constexpr auto question_interval = 500ms;
/// A launcher that ends the other ranks because one has died leaves them about a second.
constexpr double lost_seconds_when_told_to_end = 0.6;
constexpr auto question_interval_when_told_to_end = 50ms;

/// Whether SIGTERM has come. The handler that was there before is called as before.
std::atomic<bool> told_to_end{false};
struct sigaction earlier_handler;

void on_termination(int signal, siginfo_t* info, void* context) {
  told_to_end = true;
  if ((earlier_handler.sa_flags & SA_SIGINFO) != 0) {
    if (earlier_handler.sa_sigaction != nullptr) earlier_handler.sa_sigaction(signal, info, context);
  } else if (earlier_handler.sa_handler == SIG_DFL) {
    // As if nobody had listened: the default action, once this handler returns.
    std::signal(signal, SIG_DFL);
    raise(signal);
  } else if (earlier_handler.sa_handler != SIG_IGN) {
    earlier_handler.sa_handler(signal);
  }
}

/// Before each wait: whoever began to listen for the signal since then has taken this handler's place.
void listen_for_termination() {
  struct sigaction present = {};
  sigaction(SIGTERM, nullptr, &present);
  if ((present.sa_flags & SA_SIGINFO) != 0 && present.sa_sigaction == on_termination) return;
  struct sigaction handler = {};
  handler.sa_sigaction = on_termination;
  handler.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&handler.sa_mask);
  sigaction(SIGTERM, &handler, &earlier_handler);
}

double seconds(std::chrono::steady_clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

World::World(double lost_seconds) : lost_seconds_(lost_seconds) {
  thread_ = std::thread([this] { run(); });
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return started_; });
}

std::shared_ptr<Job> World::submit(const std::function<std::unique_ptr<Operation>(const Group&, int)>& make,
                                   std::function<void()> on_done) {
  auto job = std::make_shared<Job>();
  job->operation = make(group_, next_tag_);
  job->on_done = std::move(on_done);
  next_tag_ = (next_tag_ + 1) % tags;
  calls_++;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    submitted_.push_back(job);
  }
  wake_.notify_one();
  return job;
}

void World::wait(Job& job) {
  listen_for_termination();
  std::unique_lock<std::mutex> lock(mutex_);
  is_waited_for_ = true;
  waited_since_ = Clock::now();
  wake_.notify_one();
  done_.wait(lock, [this, &job] { return job.done || stopped_; });
  is_waited_for_ = false;
}

void World::watch_all(std::int32_t* alarm) {
  listen_for_termination();
  const std::lock_guard<std::mutex> lock(mutex_);
  alarm_ = alarm;
  alarm_since_ = Clock::now();
}

void World::abort(int status) {
  abort_status_ = status;
  wake_.notify_one();
  // MPI_Abort ends this process too; if MPI itself hangs, nobody waits for it longer than this.
  std::this_thread::sleep_for(5s);
  _exit(status);
}

void World::stop(bool finalize) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    finalize_ = finalize;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void World::start() {
  int initialized = 0;
  MPI_Initialized(&initialized);
  int provided = MPI_THREAD_SINGLE;
  if (initialized == 0 && MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
    start_failure_ = "MPI_Init_thread failed";
    return;
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_dup(MPI_COMM_WORLD, &group_.communicator);
  MPI_Comm_dup(MPI_COMM_WORLD, &watch_);
  MPI_Comm_set_errhandler(group_.communicator, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(watch_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(group_.communicator, &group_.rank);
  MPI_Comm_size(group_.communicator, &group_.size);
  MPI_Comm local = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, group_.rank, MPI_INFO_NULL, &local);
  MPI_Comm_rank(local, &local_rank_);
  int local_size = 1;
  MPI_Comm_size(local, &local_size);
  has_core_ = local_size <= sysconf(_SC_NPROCESSORS_ONLN);
  MPI_Comm_free(&local);
  peers_.resize(static_cast<std::size_t>(group_.size));
  for (int rank = 0; rank < group_.size; rank++)
    if (rank != group_.rank) others_.push_back(rank);
}

void World::run() {
#ifdef __linux__
  // Else a nap lasts 50 us longer than it is to.
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
#endif
  start();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    started_ = true;
  }
  done_.notify_all();
  if (!start_failure_.empty()) return;
  Clock::time_point progress = Clock::now();
  Clock::time_point looked = progress;
  while (true) {
    if (abort_status_ >= 0) MPI_Abort(MPI_COMM_WORLD, abort_status_);
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (active_.empty() && submitted_.empty() && !stopping_)
        wake_.wait_for(lock, idle, [this] { return !submitted_.empty() || stopping_ || abort_status_ >= 0; });
      if (!submitted_.empty()) progress = Clock::now();
      for (auto& job : submitted_) active_.push_back({std::move(job), Clock::now()});
      submitted_.clear();
      if (stopping_ && (active_.empty() || !finalize_)) break;
    }
    answer();
    // This process was stopped for a while: it was not the others who were silent.
    const Clock::time_point now = Clock::now();
    if (now - looked > patience)
      for (Peer& peer : peers_) peer.asked = now;
    looked = now;
    if (carry_on()) progress = Clock::now();
    watch_for_alarm();
    if (active_.empty()) continue;
    if (Clock::now() - progress < busy) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    if (is_waited_for_) {
      const bool spins = has_core_ && Clock::now() - waited_since_ < spin;
      lock.unlock();
      if (!spins) std::this_thread::sleep_for(nap);
    } else {
      wake_.wait_for(lock, long_nap,
                     [this] { return is_waited_for_ || !submitted_.empty() || stopping_ || abort_status_ >= 0; });
    }
  }
  if (finalize_) {
    MPI_Waitall(static_cast<int>(answers_.size()), answers_.data(), MPI_STATUSES_IGNORE);
    MPI_Comm_free(&watch_);
    MPI_Comm_free(&group_.communicator);
    MPI_Finalize();
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  done_.notify_all();
}

bool World::carry_on() {
  bool progress = false;
  for (auto at = active_.begin(); at != active_.end();) {
    Job& job = *at->job;
    if (job.operation->advance()) {
      job.failure = job.operation->failure();
    } else {
      watch(job, job.operation->missing(), at->since);
      if (job.lost_rank < 0) {
        ++at;
        continue;
      }
    }
    progress = true;
    finish(at->job);
    if (job.lost_rank >= 0 || !job.failure.empty()) failed_.push_back(at->job);
    at = active_.erase(at);
  }
  return progress;
}

void World::finish(const std::shared_ptr<Job>& job) {
  bytes_sent_ += job->operation->bytes_sent();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    job->done = true;
  }
  done_.notify_all();
  if (job->on_done) job->on_done();
}

void World::answer() {
  int found = 0;
  MPI_Status status;
  while (MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, watch_, &found, &status) == MPI_SUCCESS && found != 0) {
    const int from = status.MPI_SOURCE;
    MPI_Recv(nullptr, 0, MPI_BYTE, from, status.MPI_TAG, watch_, MPI_STATUS_IGNORE);
    if (status.MPI_TAG == answer_tag) {
      peers_[static_cast<std::size_t>(from)].heard = Clock::now();
      peers_[static_cast<std::size_t>(from)].is_asked = false;
      continue;
    }
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Isend(nullptr, 0, MPI_BYTE, from, answer_tag, watch_, &request) == MPI_SUCCESS) answers_.push_back(request);
  }
  answers_.erase(std::remove_if(answers_.begin(), answers_.end(),
                                [](MPI_Request& request) {
                                  int done = 0;
                                  return MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS || done != 0;
                                }),
                 answers_.end());
}

void World::watch_for_alarm() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (alarm_ == nullptr || found_lost_.done) return;
  watch(found_lost_, others_, alarm_since_);
  if (found_lost_.lost_rank < 0) return;
  found_lost_.done = true;
  __atomic_store_n(alarm_, found_lost_.lost_rank + 1, __ATOMIC_RELEASE);
}

void World::watch(Job& job, const std::vector<int>& ranks, Clock::time_point since) {
  const Clock::time_point now = Clock::now();
  const bool hurry = told_to_end;
  if (now - since < patience && !hurry) return;
  const double limit = hurry ? std::min(lost_seconds_when_told_to_end, lost_seconds_) : lost_seconds_;
  for (const int rank : ranks) {
    Peer& peer = peers_[static_cast<std::size_t>(rank)];
    if (peer.is_asked) {
      const double silent = seconds(now - peer.asked);
      if (silent < limit) continue;
      job.lost_rank = rank;
      job.silent_seconds = silent;
      job.told_to_end = hurry;
      return;
    }
    if (now - peer.heard < (hurry ? question_interval_when_told_to_end : question_interval)) continue;
    MPI_Request request = MPI_REQUEST_NULL;
    if (MPI_Isend(nullptr, 0, MPI_BYTE, rank, question_tag, watch_, &request) == MPI_SUCCESS) answers_.push_back(request);
    peer.asked = now;
    peer.is_asked = true;
  }
}

}  // namespace versemi_mpi
