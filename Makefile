# Two commands on a fresh Debian machine: make quickstart, make test.
PRESET ?= default
BUILD := build/$(PRESET)
STAMP := $(shell date -u +%Y%m%d-%H%M%S)
CPU_TESTS := --output-on-failure --no-tests=error

.PHONY: quickstart test asan build bench bundle format tidy

quickstart: build  ## train the softmax and softpick pair of experiments/quickstart, then show the report
	$(BUILD)/bin/train experiments/quickstart/quickstart.toml --jobs 2 --out runs/quickstart-$(STAMP)
	$(BUILD)/bin/report runs/quickstart-$(STAMP) --bars experiments/quickstart/bars.toml --out runs/quickstart-$(STAMP)/report

test: build  ## all tests (those that need a GPU skip without one)
	ctest --test-dir $(BUILD) $(CPU_TESTS)

asan:  ## the CPU tests under the address and undefined-behaviour sanitizers
	$(MAKE) build PRESET=asan
	ctest --preset asan $(CPU_TESTS)

build:
	third_party/install
	[ -f $(BUILD)/build.ninja ] || cmake --preset $(PRESET)
	ninja -C $(BUILD)

bench: build  ## the attention kernels of the GPU, else of the CPU: checked, then timed beside LibTorch's
	$(BUILD)/bin/bench attention

bundle: build  ## build/bundle: the programs and the libraries that a machine with only LibTorch lacks
	third_party/bundle $(BUILD) build/bundle

format:
	git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format -i

tidy: build  ## clang-tidy over the libraries that do not include LibTorch
	git ls-files 'kernels/*.cc' 'libs/core/*.cc' 'libs/recipe/*.cc' 'libs/io/*.cc' 'libs/text/*.cc' | xargs clang-tidy -p $(BUILD) --quiet
