// SIGTERM and SIGINT as a request to save and end. A second one ends at once, as usual.
#pragma once

namespace attnlab {

// From now on the first SIGTERM or SIGINT only sets StopRequested().
void CatchStopSignals();

bool StopRequested();

}  // namespace attnlab
