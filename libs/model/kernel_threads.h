// The threads that our CPU kernels run on in a program that uses LibTorch.
#pragma once

namespace attnlab {

// From now on kernels/ runs on LibTorch's threads, as many as at::get_num_threads(): two pools on
// the same cores would wait for each other. Cheap to call again.
void RunKernelsOnLibTorchThreads();

}  // namespace attnlab
