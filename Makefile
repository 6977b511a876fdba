PYTHON ?= python3
BIN := .venv/bin

.PHONY: install s3rver test quick campaign demo lint clean

# Everything the tests and the linters need, in an environment of the project's own.
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,plots,logging]' -c constraints.txt
	touch $@

# A second S3 server, with which sets in buckets are tested; those tests skip where it is missing.
s3rver:
	npm install --silent --no-audit --no-fund --prefix .venv/s3rver s3rver@3.7.1

# A process per core; the tests of a file stay together, and with them what they share.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

test: install
	$(PYTEST)

quick: install
	$(PYTEST) -m 'not slow'

# Faults by the thousand; CI runs a slice of it. For one part: python -m tests.campaign --help
campaign: install
	$(BIN)/python -m tests.campaign --report campaign.txt

# A tour in three minutes on files that ship with the package: nothing is fetched.
SAMPLE := augment/embedded/sample
READERS := demo/empty.json demo/teacher/predictions.json demo/student/eval/predictions.json
demo: export HF_HUB_OFFLINE = 1
demo: install
	@echo "1. Look. Copies of a text have some words replaced, [new|old]; answers, <so>, stay as they are."
	@$(BIN)/python -m augment.preview $(SAMPLE)-train-v2.0.json --mlm embedded --glove embedded --paragraphs 1
	@echo; echo "2. Build. Every question once as it is, and 20 times over a copy of its text: demo/set20x"
	@$(BIN)/python -m augment.build $(SAMPLE)-train-v2.0.json demo/set20x --mlm embedded --glove embedded
	@echo; echo "3. Check. Every file is the one that was built, and every answer stands in its text."
	@$(BIN)/python -m augment.check demo/set20x
	@echo; echo "4. Ask. The reader that ships with the package answers 88 questions that nobody trained on."
	@$(BIN)/python -m eval.predict embedded $(SAMPLE)-dev-v2.0.json demo/teacher --max-seq-length 256
	@echo; echo "5. Distil. Two layers learn from that reader's three, on the 20x set: first what its layers"
	@echo "   compute, then its answers. The smaller and faster reader is demo/student."
	@$(BIN)/python -m distill.train --recipe embedded-2l-384d --data demo/set20x --output demo/student \
	  --dev $(SAMPLE)-dev-v2.0.json
	@echo; echo "6. Compare. To be worth something a reader must beat saying 'no answer' to everything."
	@$(BIN)/python -m eval.baselines $(SAMPLE)-dev-v2.0.json demo > demo/baselines.log
	@$(BIN)/python -m eval.compare $(SAMPLE)-dev-v2.0.json $(READERS)
	@echo; echo "The card of the set is demo/set20x/README.md, the student's is demo/student/README.md."
	@echo "Next, with questions of your own: $(BIN)/python -m augment.preview FILE --mlm embedded"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv demo build *.egg-info
