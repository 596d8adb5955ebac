# Packages of unstick; docs/packages.md says what is in each. For everything else there is cargo.
#   make dist     an archive: binary, man pages, completions, unit file, samples, licences
#   make deb      a Debian package (cargo install cargo-deb)
#   make image    an image for containers (Docker)
#   make lint     the linters of the packages, those that are installed

VERSION := $(shell sed -n '1,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
COMMIT  := $(shell git describe --always --dirty --exclude='*' --abbrev=12 2>/dev/null || echo unknown)
MACHINE := $(shell rustc -vV | sed -n 's/^host: //p')
# Where the parts of packages are put together. Cargo.toml and the rules below name this folder.
PARTS   := target/package
NAME    := unstick-$(VERSION)-$(MACHINE)
MANUAL  := $(PARTS)/manual

# What `unstick --version` says; the build reads it.
export UNSTICK_VERSION := $(VERSION) ($(COMMIT))
# cargo-deb and the rules below look for the binary in here.
export CARGO_TARGET_DIR := target

.PHONY: dist deb image lint binary manual notices

dist: binary manual notices
	rm -rf $(PARTS)/$(NAME)
	install -D -m 755 target/dist/unstick $(PARTS)/$(NAME)/bin/unstick
	install -d $(PARTS)/$(NAME)/man/man1 $(PARTS)/$(NAME)/completions
	install -m 644 $(MANUAL)/*.1 $(PARTS)/$(NAME)/man/man1
	install -m 644 $(MANUAL)/unstick.bash $(MANUAL)/unstick.fish $(MANUAL)/_unstick $(PARTS)/$(NAME)/completions
	cp -r packaging/systemd packaging/container packaging/kubernetes config docs $(PARTS)/$(NAME)
	install -m 644 README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT $(PARTS)/THIRD-PARTY-NOTICES.txt $(PARTS)/$(NAME)
	tar -C $(PARTS) --owner=0 --group=0 --sort=name -czf $(PARTS)/$(NAME).tar.gz $(NAME)
	cd $(PARTS) && sha256sum $(NAME).tar.gz >$(NAME).tar.gz.sha256
	$(PARTS)/$(NAME)/bin/unstick --version

deb: binary manual notices
	cargo deb --no-build --no-strip --profile dist --output $(PARTS)/

image:
	docker build -f packaging/container/Dockerfile --build-arg COMMIT=$(COMMIT) -t unstick:$(VERSION) .

binary:
	packaging/build.sh

# A build of its own, so that the binary does not carry what writes the pages.
manual:
	rm -rf $(MANUAL)
	cargo run --locked --features manual -- manual $(MANUAL)

notices:
	mkdir -p $(PARTS)
	packaging/notices.py >$(PARTS)/THIRD-PARTY-NOTICES.txt

# Each is skipped, and said so, where it is not installed.
lint:
	@for linter in \
	  'hadolint packaging/container/Dockerfile' \
	  'yamllint -d "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}" packaging' \
	  'check-jsonschema --builtin-schema vendor.compose-spec packaging/container/compose.yaml' \
	  'kubernetes-validate --strict --quiet packaging/kubernetes/unstick.yaml'; \
	do \
	  if command -v $${linter%% *} >/dev/null; then echo "$$linter"; eval "$$linter" || exit 1; \
	  else echo "not installed: $${linter%% *}"; fi; \
	done
