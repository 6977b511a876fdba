PYTHON ?= python3
BIN := .venv/bin

.PHONY: install test quick demo lint clean

# Everything the tests and the linters need, in an environment of the project's own.
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,plots,logging]' -c constraints.txt
	touch $@

test: install
	$(BIN)/python -m pytest

quick: install
	$(BIN)/python -m pytest -m 'not slow'

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
	@echo; echo "Look at demo/set20x/README.md (the data card), demo/set20x/manifest.json (counts and"
	@echo "hashes), and open the shards: datasets.load_dataset('demo/set20x')"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo build *.egg-info
