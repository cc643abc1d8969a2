# Usage: awk -v n=1000000 -f make_names.awk >names.tsv
# Prints a tensor list of n lines (1000000) for benchmarks of lnn-filter: parameters of transformer and convolution blocks with names
# as in real checkpoints. A line is NAME <TAB> DTYPE <TAB> SHAPE <TAB> layer_type=... with 67 bytes on average. The same n always
# gives the same bytes.
BEGIN {
	if (n == 0)
		n = 1000000
	OFS = "\t"
	kinds = split("attn.qkv.weight:Linear:[1152,384] attn.qkv.bias:Linear:[1152] attn.proj.weight:Linear:[384,384] " \
		"attn.proj.bias:Linear:[384] attn.relative_position_bias_table:RelativeAttention:[729,12] " \
		"attn.freqs:RopeAttention:[2,12,16] norm1.weight:LayerNorm:[384] norm1.bias:LayerNorm:[384] " \
		"mlp.fc1.weight:Linear:[1536,384] mlp.fc1.bias:Linear:[1536] mlp.fc2.weight:Linear:[384,1536] " \
		"mlp.fc2.bias:Linear:[384] conv.weight:Conv2d:[384,192,3,3] bn.weight:BatchNorm2d:[384] " \
		"bn.bias:BatchNorm2d:[384] gamma:ConvNeXtBlock:[384]", kind, " ")
	tops = split("stages.0 stages.1 stages.2 stages.3 stage_3 stage_4 downsample_layers.2 head.taxa_L10 meta_time_head_1 " \
		"encoder.layers", top, " ")
	for (i = 0; i < n; i++) {
		split(kind[i % kinds + 1], part, ":")
		block = int(i / kinds)
		print top[block % tops + 1] "." int(block / tops) "." part[1], "float32", part[3], "layer_type=" part[2]
	}
}
