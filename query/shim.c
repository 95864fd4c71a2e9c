//go:build cgo && !nosql

#include "shim.h"

#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

// Of DuckDB's public C interface (duckdb.h); its handles are pointers.
extern void *duckdb_create_table_function(void);
extern void duckdb_destroy_table_function(void **function);
extern void duckdb_table_function_set_name(void *function, const char *name);
extern void duckdb_table_function_add_parameter(void *function, void *type);
extern void duckdb_table_function_add_named_parameter(void *function, const char *name, void *type);
extern void duckdb_table_function_set_extra_info(void *function, void *info, void (*drop)(void *));
extern void duckdb_table_function_set_bind(void *function, void (*bind)(void *));
extern void duckdb_table_function_set_init(void *function, void (*init)(void *));
extern void duckdb_table_function_set_function(void *function, void (*fill)(void *, void *));
extern void duckdb_table_function_supports_projection_pushdown(void *function, bool pushdown);
extern int duckdb_register_table_function(void *connection, void *function);
extern void *duckdb_create_logical_type(int type);
extern void duckdb_destroy_logical_type(void **type);
extern void *duckdb_bind_get_extra_info(void *info);
extern void duckdb_bind_set_bind_data(void *info, void *data, void (*drop)(void *));
extern void *duckdb_init_get_bind_data(void *info);
extern void duckdb_init_set_init_data(void *info, void *data, void (*drop)(void *));
extern void *duckdb_function_get_init_data(void *info);
extern int duckdb_pending_prepared_streaming(void *statement, void **pending);
extern const char *duckdb_pending_error(void *pending);
extern int duckdb_execute_pending(void *pending, lf_result *out);
extern void duckdb_destroy_pending(void **pending);
extern void *duckdb_fetch_chunk(lf_result result);
extern const char *duckdb_result_error(lf_result *result);
extern void duckdb_destroy_result(lf_result *result);
extern uint64_t duckdb_column_count(lf_result *result);
extern const char *duckdb_column_name(lf_result *result, uint64_t column);
extern void *duckdb_column_logical_type(lf_result *result, uint64_t column);
extern void *duckdb_result_get_arrow_options(lf_result *result);
extern void duckdb_destroy_arrow_options(void **options);
extern void *duckdb_to_arrow_schema(void *options, void **types, const char **names, uint64_t n, void *out);
extern void *duckdb_data_chunk_to_arrow(void *options, void *chunk, void *out);
extern const char *duckdb_error_data_message(void *error);
extern bool duckdb_error_data_has_error(void *error);
extern void duckdb_destroy_error_data(void **error);
extern void duckdb_vector_assign_string_element_len(void *vector, uint64_t row, const char *text, uint64_t n);

enum { VARCHAR = 17 };

static void drop(void *handle) { lfDrop((uintptr_t)handle); }
static void on_bind(void *info) { lfBind(info, (uintptr_t)duckdb_bind_get_extra_info(info)); }
static void on_init(void *info) { lfInit(info, (uintptr_t)duckdb_init_get_bind_data(info)); }
static void on_fill(void *info, void *chunk) { lfFill(info, (uintptr_t)duckdb_function_get_init_data(info), chunk); }

int lf_register(void *connection, uintptr_t db) {
	static const char *const named[] = {"as_of", "changes_from", "changes_to"};
	void *f = duckdb_create_table_function();
	void *text = duckdb_create_logical_type(VARCHAR);
	duckdb_table_function_set_name(f, "read_hudi");
	duckdb_table_function_add_parameter(f, text);
	for (size_t i = 0; i < sizeof named / sizeof *named; i++)
		duckdb_table_function_add_named_parameter(f, named[i], text);
	duckdb_table_function_set_extra_info(f, (void *)db, NULL);
	duckdb_table_function_set_bind(f, on_bind);
	duckdb_table_function_set_init(f, on_init);
	duckdb_table_function_set_function(f, on_fill);
	duckdb_table_function_supports_projection_pushdown(f, true);
	int failed = duckdb_register_table_function(connection, f);
	duckdb_destroy_table_function(&f);
	duckdb_destroy_logical_type(&text);
	return failed;
}

void lf_set_bind_data(void *info, uintptr_t handle) { duckdb_bind_set_bind_data(info, (void *)handle, drop); }
void lf_set_init_data(void *info, uintptr_t handle) { duckdb_init_set_init_data(info, (void *)handle, drop); }

static char *copy(const char *text) { return strdup(text && *text ? text : "unknown error"); }

int lf_execute(void *statement, lf_result *out, char **error) {
	void *pending = NULL;
	int failed = duckdb_pending_prepared_streaming(statement, &pending);
	if (failed)
		*error = copy(duckdb_pending_error(pending));
	else if ((failed = duckdb_execute_pending(pending, out))) {
		*error = copy(duckdb_result_error(out));
		duckdb_destroy_result(out);
	}
	duckdb_destroy_pending(&pending);
	return failed;
}

void *lf_fetch(lf_result *result) { return duckdb_fetch_chunk(*result); }
const char *lf_result_error(lf_result *result) { return duckdb_result_error(result); }
void lf_destroy_result(lf_result *result) { duckdb_destroy_result(result); }

static char *failure(void *error) {
	char *text = NULL;
	if (error && duckdb_error_data_has_error(error))
		text = copy(duckdb_error_data_message(error));
	if (error)
		duckdb_destroy_error_data(&error);
	return text;
}

char *lf_schema(lf_result *result, void *out) {
	uint64_t n = duckdb_column_count(result);
	void **types = calloc(n, sizeof *types);
	const char **names = calloc(n, sizeof *names);
	for (uint64_t i = 0; i < n; i++) {
		types[i] = duckdb_column_logical_type(result, i);
		names[i] = duckdb_column_name(result, i);
	}
	void *options = duckdb_result_get_arrow_options(result);
	char *error = failure(duckdb_to_arrow_schema(options, types, names, n, out));
	duckdb_destroy_arrow_options(&options);
	for (uint64_t i = 0; i < n; i++)
		duckdb_destroy_logical_type(&types[i]);
	free(types);
	free(names);
	return error;
}

char *lf_array(lf_result *result, void *chunk, void *out) {
	void *options = duckdb_result_get_arrow_options(result);
	char *error = failure(duckdb_data_chunk_to_arrow(options, chunk, out));
	duckdb_destroy_arrow_options(&options);
	return error;
}

void lf_strings(void *vector, const int32_t *offsets, const char *data, uint64_t n) {
	for (uint64_t i = 0; i < n; i++)
		duckdb_vector_assign_string_element_len(vector, i, data + (offsets[i] - offsets[0]), offsets[i + 1] - offsets[i]);
}

void lf_long_strings(void *vector, const int64_t *offsets, const char *data, uint64_t n) {
	for (uint64_t i = 0; i < n; i++)
		duckdb_vector_assign_string_element_len(vector, i, data + (offsets[i] - offsets[0]), offsets[i + 1] - offsets[i]);
}

void lf_fixed(void *vector, const char *data, uint64_t width, uint64_t n) {
	for (uint64_t i = 0; i < n; i++)
		duckdb_vector_assign_string_element_len(vector, i, data + i * width, width);
}
