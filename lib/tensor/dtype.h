/*
 * dtype: the element types of tensors, and their names in each container.
 *
 * The names are torch's. Facts: lib/format/README.md, section 9. The float6
 * types exist in safetensors only and have no torch dtype.
 */
#ifndef LNN_TENSOR_DTYPE_H
#define LNN_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum dtype {
	DTYPE_UNKNOWN = 0,
	DTYPE_FLOAT64,
	DTYPE_FLOAT32,
	DTYPE_FLOAT16,
	DTYPE_BFLOAT16,
	DTYPE_FLOAT8_E4M3FN,
	DTYPE_FLOAT8_E5M2,
	DTYPE_FLOAT8_E4M3FNUZ,
	DTYPE_FLOAT8_E5M2FNUZ,
	DTYPE_FLOAT8_E8M0FNU,
	DTYPE_FLOAT4_E2M1FN_X2, /* one item is a byte with two numbers */
	DTYPE_FLOAT6_E2M3,      /* safetensors only; copied, never converted */
	DTYPE_FLOAT6_E3M2,
	DTYPE_INT64,
	DTYPE_INT32,
	DTYPE_INT16,
	DTYPE_INT8,
	DTYPE_UINT64,
	DTYPE_UINT32,
	DTYPE_UINT16,
	DTYPE_UINT8,
	DTYPE_BOOL,
	DTYPE_COMPLEX128,
	DTYPE_COMPLEX64,
	DTYPE_COMPLEX32,
	DTYPE_QINT8,
	DTYPE_QUINT8,
	DTYPE_QINT32,
	DTYPE_QUINT4X2,
	DTYPE_QUINT2X4,
	DTYPE_BITS8,
	DTYPE_BITS16,
	DTYPE_BITS1X8,
	DTYPE_BITS2X4,
	DTYPE_BITS4X2,
	DTYPE_COUNT
};

enum dtype_class {
	DTYPE_CLASS_NONE, /* only DTYPE_UNKNOWN */
	DTYPE_CLASS_FLOAT,
	DTYPE_CLASS_INT, /* signed and unsigned */
	DTYPE_CLASS_BOOL,
	DTYPE_CLASS_COMPLEX,
	DTYPE_CLASS_QUANTISED,
	DTYPE_CLASS_BITS,
};

struct dtype_info {
	const char *name;        /* torch's short name; "unknown" for DTYPE_UNKNOWN */
	const char *storage;     /* typed storage class in a pickle; NULL: UntypedStorage and _rebuild_tensor_v3 */
	const char *safetensors; /* NULL if the format lacks it */
	const char *numpy;       /* array-protocol descr; NULL if numpy has no such type */
	enum dtype_class class;
	uint8_t size;   /* bytes of an item; 0 if an item is not a whole number of bytes */
	uint8_t bits;   /* bits of an item */
	uint8_t pack;   /* elements per item in a safetensors shape: 2 for float4 (the last dimension counts double), else 1 */
	uint8_t digits; /* floats and complex parts: significant decimal digits that identify a value; else 0 */
	bool torch;     /* false if torch has no such dtype */
};

/* Never returns NULL: values outside the enum get the entry of DTYPE_UNKNOWN. The result is static. */
const struct dtype_info *dtype_info(enum dtype t);
const char *dtype_name(enum dtype t);
unsigned dtype_size(enum dtype t); /* bytes of an item; 0 if not a whole number */
bool dtype_is_float(enum dtype t); /* true for real floating types, but not for complex ones */

/* Return DTYPE_UNKNOWN if there is no such type. Names must match exactly. */
enum dtype dtype_by_name(struct str name);        /* "float32", without "torch." */
enum dtype dtype_by_safetensors(struct str name); /* "F32" */
enum dtype dtype_by_numpy(struct str name);       /* "f4", without byte order; V2 is bfloat16, as ml_dtypes saves it */
enum dtype dtype_by_storage(struct str name);     /* "FloatStorage", without module; not UntypedStorage */
enum dtype dtype_by_tensor(struct str name);      /* "FloatTensor", without module */

/* Computes the bytes of count items. Returns false on overflow, if they are not whole bytes, or if t is unknown. */
bool dtype_bytes(enum dtype t, uint64_t count, uint64_t *bytes);

#endif
