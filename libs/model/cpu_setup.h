// What a process that computes on the CPU sets once.
#pragma once

namespace attnlab {

// Runs kernels/ on LibTorch's threads, as many as at::get_num_threads() (two pools on the same
// cores would wait for each other), and keeps freed memory in the process (a training step frees
// and asks again for the same sizes, and pages that come fresh from the system cost a tenth of a
// small model's step). Cheap to call again.
void PrepareCpu();

}  // namespace attnlab
