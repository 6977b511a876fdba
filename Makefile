PYTHON ?= python3
BIN := .venv/bin

.PHONY: install test quick campaign demo lint clean

# Everything the tests and the linters need, in an environment of the project's own.
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,plots,logging]' -c constraints.txt
	touch $@

# A process per core; the tests of a file stay together, and with them what they share.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

test: install
	$(PYTEST)

quick: install
	$(PYTEST) -m 'not slow'

# Faults by the hundred: damaged files, killed runs, malformed inputs. Not in CI.
campaign: install
	$(BIN)/python -m tests.campaign --report campaign.txt

# A tour on the bundled sample and models: nothing is fetched. Works as often as you like.
SAMPLE := augment/embedded/sample
demo: export HF_HUB_OFFLINE = 1
demo: install
	@echo "1. What the augmenter does to a text: [new|old], <answer>"
	@$(BIN)/python -m augment.preview $(SAMPLE)-train-v2.0.json --mlm embedded --glove embedded --paragraphs 1
	@echo; echo "2. The sample, 20x, as Arrow shards: demo/set20x"
	@$(BIN)/python -m augment.build $(SAMPLE)-train-v2.0.json demo/set20x --mlm embedded --glove embedded
	@echo; echo "3. Every hash and every span"
	@$(BIN)/python -m augment.check demo/set20x
	@echo; echo "4. The sample's dev set, scored: gold answers, then no answer at all (what a reader has to beat)"
	@$(BIN)/python -m eval.baselines $(SAMPLE)-dev-v2.0.json demo/baselines
	@for name in gold empty; do \
	  echo "$$name:"; $(BIN)/python -m eval.squad_v2 $(SAMPLE)-dev-v2.0.json demo/baselines/$$name.json; done
	@echo; echo "5. A small teacher, fine-tuned on the sample from the embedded masked LM: demo/teacher"
	@$(BIN)/python -m distill.finetune $(SAMPLE)-train-v2.0.json demo/teacher --model augment/embedded \
	  --epochs 20 --learning-rate 5e-4 --batch-size 16 --max-seq-length 256
	@echo; echo "6. Two of its three layers, distilled on the 20x set in both stages: demo/student"
	@$(BIN)/python -m distill.train --recipe minilm-3l-384d-squad2 --data demo/set20x --output demo/student \
	  --teacher demo/teacher --student teacher:1,3 --stages.0.layer-map 1 3 --max-seq-length 256 \
	  --stages.0.epochs 0.5 --stages.0.learning-rate 5e-4 --stages.1.epochs 20 --stages.1.learning-rate 5e-4
	@echo; echo "7. Beside the all-empty baseline: on the questions they learned, which shows that the parts"
	@echo "fit, and on the dev set, where 233 questions are far too few to learn to read"
	@for set in train dev; do \
	  for name in teacher student; do \
	    $(BIN)/python -m eval.predict demo/$$name $(SAMPLE)-$$set-v2.0.json demo/$$name-$$set \
	      --max-seq-length 256 > demo/$$name-$$set.log || exit 1; done; \
	  $(BIN)/python -m eval.baselines $(SAMPLE)-$$set-v2.0.json demo/baselines-$$set > demo/baselines.log || exit 1; \
	  echo "$$set:"; $(BIN)/python -m eval.compare $(SAMPLE)-$$set-v2.0.json demo/baselines-$$set/empty.json \
	    demo/teacher-$$set/predictions.json demo/student-$$set/predictions.json; done
	@echo "the student, on the questions it learned:"
	@$(BIN)/python -m eval.squad_v2 $(SAMPLE)-train-v2.0.json demo/student-train/predictions.json
	@echo; echo "Look at demo/set20x/README.md (the data card), demo/set20x/manifest.json (counts and"
	@echo "hashes), and open the shards: datasets.load_dataset('demo/set20x')"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo build *.egg-info
