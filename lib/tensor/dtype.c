#include "tensor/dtype.h"

#include <stddef.h>

#include "base/num.h"

#define FLOAT DTYPE_CLASS_FLOAT
#define INT DTYPE_CLASS_INT
#define COMPLEX DTYPE_CLASS_COMPLEX
#define QUANT DTYPE_CLASS_QUANTISED
#define BITS DTYPE_CLASS_BITS

/* name, storage class, safetensors, numpy, class, bytes, bits, pack, digits, known to torch */
static const struct dtype_info table[DTYPE_COUNT] = {
	[DTYPE_UNKNOWN] = { "unknown", NULL, NULL, NULL, DTYPE_CLASS_NONE, 0, 0, 1, 0, false },
	[DTYPE_FLOAT64] = { "float64", "DoubleStorage", "F64", "<f8", FLOAT, 8, 64, 1, 17, true },
	[DTYPE_FLOAT32] = { "float32", "FloatStorage", "F32", "<f4", FLOAT, 4, 32, 1, 9, true },
	[DTYPE_FLOAT16] = { "float16", "HalfStorage", "F16", "<f2", FLOAT, 2, 16, 1, 5, true },
	[DTYPE_BFLOAT16] = { "bfloat16", "BFloat16Storage", "BF16", NULL, FLOAT, 2, 16, 1, 4, true },
	[DTYPE_FLOAT8_E4M3FN] = { "float8_e4m3fn", NULL, "F8_E4M3", NULL, FLOAT, 1, 8, 1, 3, true },
	[DTYPE_FLOAT8_E5M2] = { "float8_e5m2", NULL, "F8_E5M2", NULL, FLOAT, 1, 8, 1, 2, true },
	[DTYPE_FLOAT8_E4M3FNUZ] = { "float8_e4m3fnuz", NULL, "F8_E4M3FNUZ", NULL, FLOAT, 1, 8, 1, 3, true },
	[DTYPE_FLOAT8_E5M2FNUZ] = { "float8_e5m2fnuz", NULL, "F8_E5M2FNUZ", NULL, FLOAT, 1, 8, 1, 2, true },
	[DTYPE_FLOAT8_E8M0FNU] = { "float8_e8m0fnu", NULL, "F8_E8M0", NULL, FLOAT, 1, 8, 1, 2, true },
	[DTYPE_FLOAT4_E2M1FN_X2] = { "float4_e2m1fn_x2", NULL, "F4", NULL, FLOAT, 1, 8, 2, 2, true },
	[DTYPE_FLOAT6_E2M3] = { "float6_e2m3", NULL, "F6_E2M3", NULL, FLOAT, 0, 6, 1, 3, false },
	[DTYPE_FLOAT6_E3M2] = { "float6_e3m2", NULL, "F6_E3M2", NULL, FLOAT, 0, 6, 1, 2, false },
	[DTYPE_INT64] = { "int64", "LongStorage", "I64", "<i8", INT, 8, 64, 1, 0, true },
	[DTYPE_INT32] = { "int32", "IntStorage", "I32", "<i4", INT, 4, 32, 1, 0, true },
	[DTYPE_INT16] = { "int16", "ShortStorage", "I16", "<i2", INT, 2, 16, 1, 0, true },
	[DTYPE_INT8] = { "int8", "CharStorage", "I8", "|i1", INT, 1, 8, 1, 0, true },
	[DTYPE_UINT64] = { "uint64", NULL, "U64", "<u8", INT, 8, 64, 1, 0, true },
	[DTYPE_UINT32] = { "uint32", NULL, "U32", "<u4", INT, 4, 32, 1, 0, true },
	[DTYPE_UINT16] = { "uint16", NULL, "U16", "<u2", INT, 2, 16, 1, 0, true },
	[DTYPE_UINT8] = { "uint8", "ByteStorage", "U8", "|u1", INT, 1, 8, 1, 0, true },
	[DTYPE_BOOL] = { "bool", "BoolStorage", "BOOL", "|b1", DTYPE_CLASS_BOOL, 1, 8, 1, 0, true },
	[DTYPE_COMPLEX128] = { "complex128", "ComplexDoubleStorage", NULL, "<c16", COMPLEX, 16, 128, 1, 17, true },
	[DTYPE_COMPLEX64] = { "complex64", "ComplexFloatStorage", "C64", "<c8", COMPLEX, 8, 64, 1, 9, true },
	[DTYPE_COMPLEX32] = { "complex32", NULL, NULL, NULL, COMPLEX, 4, 32, 1, 5, true },
	[DTYPE_QINT8] = { "qint8", "QInt8Storage", NULL, "|i1", QUANT, 1, 8, 1, 0, true },
	[DTYPE_QUINT8] = { "quint8", "QUInt8Storage", NULL, "|u1", QUANT, 1, 8, 1, 0, true },
	[DTYPE_QINT32] = { "qint32", "QInt32Storage", NULL, "<i4", QUANT, 4, 32, 1, 0, true },
	[DTYPE_QUINT4X2] = { "quint4x2", "QUInt4x2Storage", NULL, "|u1", QUANT, 1, 8, 1, 0, true },
	[DTYPE_QUINT2X4] = { "quint2x4", "QUInt2x4Storage", NULL, "|u1", QUANT, 1, 8, 1, 0, true },
	[DTYPE_BITS8] = { "bits8", NULL, NULL, NULL, BITS, 1, 8, 1, 0, true },
	[DTYPE_BITS16] = { "bits16", NULL, NULL, NULL, BITS, 2, 16, 1, 0, true },
	[DTYPE_BITS1X8] = { "bits1x8", NULL, NULL, NULL, BITS, 1, 8, 1, 0, true },
	[DTYPE_BITS2X4] = { "bits2x4", NULL, NULL, NULL, BITS, 1, 8, 1, 0, true },
	[DTYPE_BITS4X2] = { "bits4x2", NULL, NULL, NULL, BITS, 1, 8, 1, 0, true },
};

const struct dtype_info *
dtype_info(enum dtype t)
{
	return (unsigned)t < DTYPE_COUNT ? &table[t] : &table[DTYPE_UNKNOWN];
}

const char *
dtype_name(enum dtype t)
{
	return dtype_info(t)->name;
}

unsigned
dtype_size(enum dtype t)
{
	return dtype_info(t)->size;
}

bool
dtype_is_float(enum dtype t)
{
	return dtype_info(t)->class == DTYPE_CLASS_FLOAT;
}

enum dtype
dtype_by_name(struct str name)
{
	for (unsigned i = 1; i < DTYPE_COUNT; i++)
		if (str_eqc(name, table[i].name))
			return (enum dtype)i;
	return DTYPE_UNKNOWN;
}

enum dtype
dtype_by_safetensors(struct str name)
{
	for (unsigned i = 1; i < DTYPE_COUNT; i++)
		if (table[i].safetensors != NULL && str_eqc(name, table[i].safetensors))
			return (enum dtype)i;
	return DTYPE_UNKNOWN;
}

enum dtype
dtype_by_numpy(struct str name)
{
	for (unsigned i = 1; i < DTYPE_COUNT; i++)
		if (table[i].numpy != NULL && str_eqc(name, table[i].numpy + 1))
			return (enum dtype)i;
	return str_eqc(name, "V2") ? DTYPE_BFLOAT16 : DTYPE_UNKNOWN;
}

enum dtype
dtype_by_storage(struct str name)
{
	for (unsigned i = 1; i < DTYPE_COUNT; i++)
		if (table[i].storage != NULL && str_eqc(name, table[i].storage))
			return (enum dtype)i;
	return DTYPE_UNKNOWN;
}

enum dtype
dtype_by_tensor(struct str name)
{
	for (unsigned i = 1; i < DTYPE_COUNT && str_ends(name, str_c("Tensor")); i++) {
		struct str storage = str_c(table[i].storage != NULL ? table[i].storage : "Storage");

		if (str_eq(str_n(name.p, name.len - 6), str_n(storage.p, storage.len - 7)) && storage.len > 7)
			return (enum dtype)i;
	}
	return DTYPE_UNKNOWN;
}

bool
dtype_bytes(enum dtype t, uint64_t count, uint64_t *bytes)
{
	const struct dtype_info *info = dtype_info(t);
	uint64_t bits;

	if (info->size != 0)
		return num_mul(count, info->size, bytes);
	if (info->bits == 0 || !num_mul(count, info->bits, &bits) || bits % 8 != 0)
		return false;
	*bytes = bits / 8;
	return true;
}
