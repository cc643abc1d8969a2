/*
 * tree: finds the tensors in the value tree of a checkpoint. A container is a dict, a list or a tuple, or the one that an object of
 * a subclass of these carries or that represents a module.
 */
#ifndef LNN_TENSOR_TREE_H
#define LNN_TENSOR_TREE_H

#include "base/buf.h"
#include "tensor/ckpt.h"

/*
 * The state of a node in a search. A container is TREE_OPEN while it is being searched, so that cycles end. TREE_HIDING is a
 * container without known tensors that contains values that were not read (ckpt_fill).
 */
enum tree_mark { TREE_UNSEEN, TREE_OPEN, TREE_WITHOUT, TREE_WITH, TREE_HIDING };

struct tensor_tree {
	const struct ckpt *ckpt;
	const struct vtree *t; /* tree of ckpt */
	const char *file;      /* for messages; borrowed */
	uint32_t root;
	uint32_t nodes;
	uint8_t *seen; /* by node: enum tree_mark */
};

/* c must have a tree. The tree must not grow while it is searched. */
void tree_init(struct tensor_tree *tree, const struct ckpt *c);
void tree_release(struct tensor_tree *tree); /* tree may be zeroed */

/* Returns the container that h is or carries, or VALUE_ABSENT. */
uint32_t tree_container(const struct vtree *t, uint32_t h);

/* Returns true if h is a module of a TorchScript archive. Its container has its attributes: tensors, modules, and others. */
bool tree_is_script(const struct vtree *t, uint32_t h);

/* Returns true if h is a TorchScript module or a pickled nn.Module. Its tensors are named through nested modules. */
bool tree_is_module(const struct vtree *t, uint32_t h);

/* Returns item i of a list or tuple, or value i of a dict. */
uint32_t tree_child(const struct vtree *t, uint32_t container, size_t i);

bool tree_is_tensor(const struct vtree *t, uint32_t h, uint32_t *index);

/* Returns true if h is a call that makes a tensor from other tensors (sparse, nested, ...) and that stayed an object. */
bool tree_is_composite(const struct vtree *t, uint32_t h);

/*
 * Returns 1 if h is a tensor or contains one at any depth, 0 if not, -1 if containers are nested too deeply. Marks all containers
 * below h.
 */
int tree_holds(struct tensor_tree *tree, uint32_t h, struct err *err);

/*
 * Returns the container of h if tree_holds found tensors in it. Returns VALUE_ABSENT otherwise, also while the container is
 * TREE_OPEN.
 */
uint32_t tree_holder(const struct tensor_tree *tree, uint32_t h);

/* True if h is a value that was not read, or tree_holds found such values in it and no tensor. */
bool tree_hides(const struct tensor_tree *tree, uint32_t h);

/* Appends the key of item i as a component of a dotted path. A key that is not text is written in Python's notation. */
void tree_put_key(struct buf *b, const struct vtree *t, uint32_t container, size_t i);

#endif
