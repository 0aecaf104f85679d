// Streams, events and graphs of the emulated runtime.
#include <algorithm>

#include "emulator/emulator.h"
#include "emulator/runtime_state.h"

using namespace versemi::cuda::emulator;

// --- streams and events -----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const lock held(state().mutex);
  *stream = new versemi_emulated_stream;
  (*stream)->non_blocking = (flags & cudaStreamNonBlocking) != 0;
  state().streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return until_ready([stream] {
    if (stream == nullptr || resolve(stream) == nullptr) return give(cudaErrorInvalidResourceHandle);
    const cudaError_t error = run_all(stream);
    if (error == cudaErrorNotReady) return error;
    state().streams.erase(stream);
    delete stream;
    return error;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return until_ready([stream] {
    const cudaError_t error = begin_call(false);
    if (error != cudaSuccess) return error;
    cudaStream_t on = resolve(stream);
    return on == nullptr ? give(cudaErrorInvalidResourceHandle) : run_all(on);
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const lock held(state().mutex);
  cudaError_t error = begin_call(false);
  if (error != cudaSuccess) return error;
  cudaStream_t on = resolve(stream);
  if (on == nullptr) return give(cudaErrorInvalidResourceHandle);
  if (on->queue.empty()) return cudaSuccess;
  error = run_all(on);
  return error != cudaSuccess ? error : cudaErrorNotReady;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  const lock held(state().mutex);
  return enqueue(stream, [function, argument] {
    function(argument);
    return cudaSuccess;
  });
}

int versemi_emulated_enqueue(cudaStream_t stream, int (*work)(void*), void* argument) {
  const lock held(state().mutex);
  return enqueue(stream, [work, argument] { return work(argument) == 0 ? cudaErrorNotReady : cudaSuccess; });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const lock held(state().mutex);
  *event = new versemi_emulated_event;
  state().events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const lock held(state().mutex);
  if (state().events.erase(event) == 0) return give(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const lock held(state().mutex);
  cudaStream_t on = resolve(stream);
  if (on == nullptr || state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
  event->captured = on->capture;
  if (on->capture != nullptr) return on->capture->invalid ? give(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
  const auto record = std::make_shared<event_record>();
  record->stream = on;
  const cudaError_t error = enqueue(stream, [record] {
    record->done = true;
    record->time = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
  if (error == cudaSuccess) event->record = record;
  return error;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const lock held(state().mutex);
  cudaStream_t on = resolve(stream);
  if (on == nullptr || state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
  if (event->captured != nullptr) {
    if (state().captures.count(event->captured) == 0) return give(cudaErrorCapturedEvent);
    if (on->capture != nullptr && on->capture != event->captured) return give(cudaErrorStreamCaptureIsolation);
    on->capture = event->captured;  // joins the capture; the order of recording is an order that all events allow
    return cudaSuccess;
  }
  if (on->capture != nullptr) {
    on->capture->invalid = true;
    return give(cudaErrorStreamCaptureIsolation);
  }
  const std::shared_ptr<event_record> record = event->record;
  if (record == nullptr || record->done) return cudaSuccess;
  return enqueue(stream, [record] {
    return record->done ? cudaSuccess : run_until(record->stream, [record] { return record->done; });
  });
}

namespace {

// Runs the stream up to the event; the lock is held.
cudaError_t run_to(cudaEvent_t event) {
  const cudaError_t error = begin_call(false);
  if (error != cudaSuccess) return error;
  if (state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
  if (event->captured != nullptr) return give(cudaErrorCapturedEvent);
  const std::shared_ptr<event_record> record = event->record;
  if (record == nullptr || record->done) return cudaSuccess;
  return run_until(record->stream, [record] { return record->done; });
}

}  // namespace

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return until_ready([event] { return run_to(event); });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const lock held(state().mutex);
  if (state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
  if (event->captured == nullptr && state().sticky == cudaSuccess && state().captures.empty() &&
      (event->record == nullptr || event->record->done))
    return cudaSuccess;
  const cudaError_t error = run_to(event);
  return error == cudaSuccess ? cudaErrorNotReady : error;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const lock held(state().mutex);
  if (state().events.count(begin) == 0 || state().events.count(end) == 0 || begin->record == nullptr || end->record == nullptr)
    return give(cudaErrorInvalidResourceHandle);
  if (!begin->record->done || !end->record->done) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->record->time - begin->record->time).count();
  return cudaSuccess;
}

// --- graphs -----------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const lock held(state().mutex);
  if (state().sticky != cudaSuccess) return give(state().sticky);
  if (stream == nullptr) return give(cudaErrorStreamCaptureUnsupported);
  if (resolve(stream) == nullptr) return give(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return give(cudaErrorIllegalState);
  stream->capture = new versemi_emulated_graph;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->origin = stream;
  state().captures.insert(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const lock held(state().mutex);
  *graph = nullptr;
  if (stream == nullptr || resolve(stream) == nullptr) return give(cudaErrorInvalidResourceHandle);
  versemi_emulated_graph* captured = stream->capture;
  if (captured == nullptr) return give(cudaErrorIllegalState);
  if (captured->origin != stream) return give(cudaErrorStreamCaptureUnmatched);
  for (cudaStream_t other : state().streams)
    if (other->capture == captured) other->capture = nullptr;
  state().captures.erase(captured);
  if (captured->invalid) {
    delete captured;
    return give(cudaErrorStreamCaptureInvalidated);
  }
  *graph = captured;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const lock held(state().mutex);
  cudaStream_t on = resolve(stream);
  if (on == nullptr) return give(cudaErrorInvalidResourceHandle);
  *status = on->capture == nullptr    ? cudaStreamCaptureStatusNone
            : on->capture->invalid    ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* program, cudaGraph_t graph, unsigned long long) {
  const lock held(state().mutex);
  if (graph == nullptr) return give(cudaErrorInvalidValue);
  *program = new versemi_emulated_graph_program{std::make_shared<std::vector<work_item>>(graph->items)};
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t program, cudaStream_t) {
  return program == nullptr ? give(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t program, cudaStream_t stream) {
  const lock held(state().mutex);
  if (program == nullptr) return give(cudaErrorInvalidValue);
  return enqueue(stream, [items = program->items] {
    for (const work_item& item : *items) {
      const cudaError_t error = item();
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t program) {
  delete program;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
