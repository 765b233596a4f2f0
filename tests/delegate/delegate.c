/* A TFLite delegate that takes ADD or FULLY_CONNECTED of a graph and computes them, with faults by option.
 *
 * The declarations are as much of TFLite's C interface (tensorflow/lite/core/c/common.h, "semi-ABI stable": fields are
 * only ever added at the end) as it takes; the two functions at the end are what external_delegate_interface.h wants.
 *
 * Options: ops: add | fc;  mood: good | refuse | crash | wrong | sulk (takes nothing);  fail_when: PATH, a file that,
 * once it is there, makes every run fail;  crash_when: PATH, the same for a crash.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kOk = 0, kError = 1 };
enum { kFloat32 = 1, kInt32 = 2, kUInt8 = 3, kInt8 = 9 };
enum { kBuiltinAdd = 0, kBuiltinFullyConnected = 9 };
enum { kActRelu = 1, kActReluN1To1 = 2, kActRelu6 = 3 };

typedef struct { int size; int data[]; } IntArray;
typedef struct { float scale; int32_t zero_point; } Quantization;
typedef struct { int type; void* params; } AnyQuantization;
struct Delegate;

typedef struct {
  int type;
  void* data;
  IntArray* dims;
  Quantization params;
  int allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  struct Delegate* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  AnyQuantization quantization;
  void* sparsity;
  const IntArray* dims_signature;
} Tensor;

typedef struct {
  IntArray* inputs;
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;
  int custom_initial_data_size;
  struct Delegate* delegate;
  bool might_have_side_effect;
} Node;

typedef struct Context Context;

typedef struct {
  void* (*init)(Context*, const char*, size_t);
  void (*free)(Context*, void*);
  int (*prepare)(Context*, Node*);
  int (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* (*async_kernel)(Context*, Node*);
  uint64_t inplace_operator;
} Registration;

struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context*, IntArray**);
  Tensor* tensors;
  void* impl;
  int (*ResizeTensor)(Context*, Tensor*, IntArray*);
  void (*ReportError)(Context*, const char*, ...);
  int (*AddTensors)(Context*, int, int*);
  int (*GetNodeAndRegistration)(Context*, int, Node**, Registration**);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const IntArray*, struct Delegate*);
};

typedef struct Delegate {
  void* data;
  int (*Prepare)(Context*, struct Delegate*);
  int (*CopyFromBufferHandle)(Context*, struct Delegate*, int, Tensor*);
  int (*CopyToBufferHandle)(Context*, struct Delegate*, int, Tensor*);
  void (*FreeBufferHandle)(Context*, struct Delegate*, int*);
  int64_t flags;
  void* opaque_delegate_builder;
} Delegate;

typedef struct {
  Delegate* delegate;
  IntArray* nodes_to_replace;
  IntArray* input_tensors;
  IntArray* output_tensors;
} DelegateParams;

typedef struct {
  int code;
  bool wrong, sulks;
  char fail_when[4096], crash_when[4096];
} Wishes;

/* One operator of those that a kernel stands for. */
typedef struct { const int* inputs; int count; int output; int activation; void* own; } Work;
typedef struct { const Wishes* wishes; int count; Work work[]; } Kernel;

static float real(const Tensor* tensor, long index) {
  switch (tensor->type) {
    case kFloat32: return ((const float*)tensor->data)[index];
    case kInt8: return tensor->params.scale * (((const int8_t*)tensor->data)[index] - tensor->params.zero_point);
    default: return tensor->params.scale * (((const uint8_t*)tensor->data)[index] - tensor->params.zero_point);
  }
}

static void store(const Tensor* tensor, long index, float value, int activation) {
  if (activation == kActReluN1To1 && value < -1) value = -1;
  if ((activation == kActRelu || activation == kActRelu6) && value < 0) value = 0;
  if (activation == kActRelu6 && value > 6) value = 6;
  if (activation == kActReluN1To1 && value > 1) value = 1;
  if (tensor->type == kFloat32) {
    ((float*)tensor->data)[index] = value;
    return;
  }
  float low = tensor->type == kInt8 ? -128 : 0, high = low + 255;
  float stored = roundf(value / tensor->params.scale) + tensor->params.zero_point;
  stored = stored < low ? low : stored > high ? high : stored;
  if (tensor->type == kInt8) ((int8_t*)tensor->data)[index] = (int8_t)stored;
  else ((uint8_t*)tensor->data)[index] = (uint8_t)stored;
}

static long length(const Tensor* tensor) {
  long found = 1;
  for (int i = 0; i < tensor->dims->size; i++) found *= tensor->dims->data[i];
  return found;
}

static void add(const Tensor* tensors, const Work* work, float bias) {
  const Tensor *one = &tensors[work->inputs[0]], *other = &tensors[work->inputs[1]], *sum = &tensors[work->output];
  for (long i = 0; i < length(sum); i++) store(sum, i, real(one, i) + real(other, i) + bias, work->activation);
}

static void fully_connected(const Tensor* tensors, const Work* work, float bias) {
  const Tensor *in = &tensors[work->inputs[0]], *weights = &tensors[work->inputs[1]], *out = &tensors[work->output];
  const Tensor* biases = work->count > 2 && work->inputs[2] >= 0 ? &tensors[work->inputs[2]] : NULL;
  long units = weights->dims->data[0], depth = weights->dims->data[1];
  for (long row = 0; row < length(in) / depth; row++) {
    for (long unit = 0; unit < units; unit++) {
      double sum = bias;
      for (long i = 0; i < depth; i++) sum += (double)real(in, row * depth + i) * real(weights, unit * depth + i);
      if (biases && biases->type == kFloat32) sum += ((const float*)biases->data)[unit];
      else if (biases) sum += (double)in->params.scale * weights->params.scale * ((const int32_t*)biases->data)[unit];
      store(out, row * units + unit, (float)sum, work->activation);
    }
  }
}

static bool known(int type) { return type == kFloat32 || type == kInt8 || type == kUInt8; }

static bool takes(const Wishes* wishes, const Tensor* tensors, const Node* node, const Registration* registration) {
  if (wishes->sulks || registration->builtin_code != wishes->code || node->inputs->size < 2) return false;
  const Tensor *one = &tensors[node->inputs->data[0]], *other = &tensors[node->inputs->data[1]];
  if (!known(one->type) || one->type != other->type || tensors[node->outputs->data[0]].type != one->type) return false;
  return wishes->code == kBuiltinFullyConnected || length(one) == length(other);
}

static void* begin(Context* context, const char* buffer, size_t size) {
  (void)size;
  const DelegateParams* params = (const DelegateParams*)buffer;
  int count = params->nodes_to_replace->size;
  Kernel* kernel = calloc(1, sizeof(Kernel) + count * sizeof(Work));
  kernel->wishes = params->delegate->data;
  kernel->count = count;
  for (int i = 0; i < count; i++) {
    Node* node;
    Registration* registration;
    context->GetNodeAndRegistration(context, params->nodes_to_replace->data[i], &node, &registration);
    Work* work = &kernel->work[i];
    work->inputs = node->inputs->data;
    work->count = node->inputs->size;
    work->output = node->outputs->data[0];
    work->activation = *(const int*)node->builtin_data; /* the first field of both operators' parameters */
  }
  return kernel;
}

static void end(Context* context, void* data) {
  (void)context;
  Kernel* kernel = data;
  for (int i = 0; i < kernel->count; i++) free(kernel->work[i].own);
  free(kernel);
}

static int prepare(Context* context, Node* node) { (void)context, (void)node; return kOk; }

static bool there(const char* path) { return path[0] && access(path, F_OK) == 0; }

static int run(Context* context, Node* node) {
  Kernel* kernel = node->user_data;
  if (there(kernel->wishes->crash_when)) *(volatile int*)0 = 0;
  if (there(kernel->wishes->fail_when)) {
    context->ReportError(context, "the accelerator has gone");
    return kError;
  }
  for (int i = 0; i < kernel->count; i++) {
    Tensor* out = &context->tensors[kernel->work[i].output];
    /* What lies between two operators of one kernel is the kernel's, and the runtime gives it no memory. */
    if (out->data == NULL) out->data = kernel->work[i].own = malloc(length(out) * sizeof(float));
    float bias = kernel->wishes->wrong ? 40 * (out->type == kFloat32 ? 1 : out->params.scale) : 0;
    (kernel->wishes->code == kBuiltinAdd ? add : fully_connected)(context->tensors, &kernel->work[i], bias);
  }
  return kOk;
}

static int take(Context* context, Delegate* delegate) {
  IntArray* plan;
  if (context->GetExecutionPlan(context, &plan) != kOk) return kError;
  int every = plan->size;
  IntArray *order = malloc(sizeof(IntArray) + every * sizeof(int)), *wanted = malloc(sizeof(IntArray) + every * sizeof(int));
  memcpy(order->data, plan->data, every * sizeof(int));
  wanted->size = 0;
  for (int i = 0; i < every; i++) {
    Node* node;
    Registration* registration;
    context->GetNodeAndRegistration(context, order->data[i], &node, &registration);
    if (takes(delegate->data, context->tensors, node, registration)) wanted->data[wanted->size++] = order->data[i];
  }
  Registration kernel = {.init = begin, .free = end, .prepare = prepare, .invoke = run, .custom_name = "OfTheTests", .version = 1};
  int status = context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, wanted, delegate);
  free(order);
  free(wanted);
  return status;
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  Wishes* wishes = calloc(1, sizeof(Wishes));
  wishes->code = kBuiltinAdd;
  for (size_t i = 0; i < count; i++) {
    const char *key = keys[i], *value = values[i];
    if (!strcmp(key, "ops") && !strcmp(value, "fc")) wishes->code = kBuiltinFullyConnected;
    if (!strcmp(key, "mood") && !strcmp(value, "crash")) *(volatile int*)0 = 0;
    if (!strcmp(key, "mood") && !strcmp(value, "refuse")) {
      report("there is no accelerator on this board");
      free(wishes);
      return NULL;
    }
    if (!strcmp(key, "mood") && !strcmp(value, "wrong")) wishes->wrong = true;
    if (!strcmp(key, "mood") && !strcmp(value, "sulk")) wishes->sulks = true;
    if (!strcmp(key, "fail_when")) strncpy(wishes->fail_when, value, sizeof wishes->fail_when - 1);
    if (!strcmp(key, "crash_when")) strncpy(wishes->crash_when, value, sizeof wishes->crash_when - 1);
  }
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->data = wishes;
  delegate->Prepare = take;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) {
  if (delegate) free(delegate->data);
  free(delegate);
}
