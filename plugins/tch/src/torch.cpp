// What `tch` has no door to: forward-mode levels and the arithmetic's global settings.
//
// Every function catches whatever libtorch throws and answers with a flag, so nothing unwinds into Rust.

#include <ATen/Context.h>
#include <torch/csrc/autograd/forward_grad.h>
#include <torch/version.h>

using torch::autograd::ForwardADLevel;

extern "C" {

// Enters a forward-mode level; its number, or -1.
int64_t isal_torch_level_enter() {
  try {
    return static_cast<int64_t>(ForwardADLevel::get_next_idx());
  } catch (...) {
    return -1;
  }
}

// Leaves a level: every tangent at it is dropped. 0, or -1.
int isal_torch_level_leave(int64_t level) {
  try {
    ForwardADLevel::release_idx(static_cast<uint64_t>(level));
    return 0;
  } catch (...) {
    return -1;
  }
}

// Full float32 products and convolutions, and the same algorithms every time. 0, or -1.
int isal_torch_exact() {
  try {
    auto &context = at::globalContext();
    context.setAllowTF32CuDNN(false);
    context.setAllowTF32CuBLAS(false);
    context.setBenchmarkCuDNN(false);
    context.setDeterministicCuDNN(true);
    return 0;
  } catch (...) {
    return -1;
  }
}

// The version libtorch's headers carry.
const char *isal_torch_version() { return TORCH_VERSION; }
}
