// The calls of DuckDB's C interface that its Go binding lacks, or that pass a Go
// handle. The library itself comes with the binding.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
	uint64_t deprecated[3];
	void *more[2];
	void *internal;
} lf_result;

// lf_register makes the table function read_hudi of a connection. 0: done.
int lf_register(void *connection, uintptr_t db);
void lf_set_bind_data(void *info, uintptr_t handle);
void lf_set_init_data(void *info, uintptr_t handle);

// lf_execute starts a prepared statement, whose rows are fetched as they come up.
int lf_execute(void *statement, lf_result *out, char **error);
void *lf_fetch(lf_result *result);
const char *lf_result_error(lf_result *result);
void lf_destroy_result(lf_result *result);

// lf_schema and lf_array fill Arrow's C structures. NULL: done, else an error's text,
// for the caller to free.
char *lf_schema(lf_result *result, void *out);
char *lf_array(lf_result *result, void *chunk, void *out);

// lf_strings writes n texts into a vector. There are n+1 offsets; data begins at the first.
void lf_strings(void *vector, const int32_t *offsets, const char *data, uint64_t n);
void lf_long_strings(void *vector, const int64_t *offsets, const char *data, uint64_t n);
void lf_fixed(void *vector, const char *data, uint64_t width, uint64_t n);
