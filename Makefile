# Targets for people; underneath are CMake presets and Ninja. `make help` lists them.
PREFIX ?= /usr/local

all: build ## build the program: build/release/mep

build: setup
	@cmake --preset release > /dev/null && cmake --build --preset release
