"""The C structures of core/interface.h as ctypes: the same fields in the same order."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_void_p


class CProgram(Structure):
    _fields_ = [
        ("code", c_void_p),
        ("constants", c_void_p),
        ("instructions", c_int32),
        ("parameters", c_int32),
        ("constant_count", c_int32),
        ("outputs", c_int32),
        ("registers", c_int32),
    ]


class CActivationCall(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("children", c_int32),
        ("threads", c_int32),
        ("per_channel", c_int32),
        ("count", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("programs", POINTER(CProgram)),
        ("x", c_void_p),
        ("parameters", POINTER(c_void_p)),
        ("outputs", POINTER(c_void_p)),
        ("output_count", c_int32),
        ("gradient", c_void_p),
        ("gradient_x", c_void_p),
        ("gradient_parameters", POINTER(c_void_p)),
    ]


class CNetwork(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("layers", c_int32),
        ("widths", c_void_p),
        ("bias", c_int32),
        ("per_channel", c_int32),
        ("loss", c_int32),
        ("optimiser", c_int32),
        ("beta1", c_double),
        ("beta2", c_double),
        ("eps", c_double),
        ("weight_decay", c_double),
        ("momentum", c_double),
        ("nesterov", c_int32),
        ("clip", c_double),
        ("schedule", c_void_p),
        ("batch", c_int64),
        ("order_length", c_int64),
        ("first_epoch", c_int64),
        ("last_epoch", c_int64),
        ("train_rows", c_int64),
        ("valid_rows", c_int64),
        ("train_x", c_void_p),
        ("valid_x", c_void_p),
        ("train_y", c_void_p),
        ("valid_y", c_void_p),
    ]


class CChild(Structure):
    _fields_ = [
        ("value", POINTER(CProgram)),
        ("derivatives", POINTER(CProgram)),
        ("weights", c_void_p),
        ("first", c_void_p),
        ("second", c_void_p),
        ("order", c_void_p),
        ("learning_rate", c_double),
        ("steps", c_int64),
        ("status", c_int32),
        ("diverged_epoch", c_int64),
        ("train_loss", c_void_p),
        ("train_accuracy", c_void_p),
        ("train_seconds", c_void_p),
        ("valid_loss", c_void_p),
        ("valid_accuracy", c_void_p),
    ]


class CProduct(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("a_transposed", c_int32),
        ("b_transposed", c_int32),
        ("children", c_int64),
        ("rows", c_int64),
        ("columns", c_int64),
        ("inner", c_int64),
        ("a", c_void_p),
        ("b", c_void_p),
        ("start", c_void_p),
        ("a_stride", c_int64),
        ("b_stride", c_int64),
        ("start_stride", c_int64),
        ("c", c_void_p),
    ]


class CTable(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("rows", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("segments", c_int64),
        ("lines", c_void_p),
        ("stretch", c_double),
        ("shift", c_double),
        ("rho", c_void_p),
        ("y", c_void_p),
        ("gradient", c_void_p),
        ("out", c_void_p),
        ("gradient_rho", c_void_p),
    ]


class CHermite(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("rows", c_int64),
        ("channels", c_int64),
        ("inner", c_int64),
        ("order", c_int64),
        ("mean", c_double),
        ("deviation", c_double),
        ("reach", c_double),
        ("coefficients", c_void_p),
        ("x", c_void_p),
        ("y", c_void_p),
        ("gradient", c_void_p),
        ("out", c_void_p),
        ("gradient_coefficients", c_void_p),
    ]


class CNormalisation(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("children", c_int64),
        ("rows", c_int64),
        ("width", c_int64),
        ("eps", c_double),
        ("x", c_void_p),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("mean", c_void_p),
        ("inverse", c_void_p),
        ("gradient", c_void_p),
        ("out", c_void_p),
        ("gradient_weight", c_void_p),
        ("gradient_bias", c_void_p),
    ]


class CConvolution(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("children", c_int64),
        ("images", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("filters", c_int64),
        ("tall", c_int64),
        ("wide", c_int64),
        ("pad_y", c_int64),
        ("pad_x", c_int64),
        ("spread_y", c_int64),
        ("spread_x", c_int64),
        ("out_height", c_int64),
        ("out_width", c_int64),
        ("x", c_void_p),
        ("x_stride", c_int64),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("out", c_void_p),
        ("gradient", c_void_p),
        ("gradient_x", c_void_p),
        ("gradient_weight", c_void_p),
        ("gradient_bias", c_void_p),
        ("x_last", c_int32),
        ("out_last", c_int32),
    ]


class CStep(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("optimiser", c_int32),
        ("children", c_int64),
        ("segments", c_int64),
        ("step", c_int64),
        ("sizes", c_void_p),
        ("parameters", c_void_p),
        ("gradients", c_void_p),
        ("first", c_void_p),
        ("second", c_void_p),
        ("weight_decays", c_void_p),
        ("learning_rates", c_void_p),
        ("beta1", c_double),
        ("beta2", c_double),
        ("eps", c_double),
        ("momentum", c_double),
        ("nesterov", c_int32),
        ("clip_value", c_double),
        ("clip_norm", c_double),
    ]


class CAttention(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("causal", c_int32),
        ("children", c_int64),
        ("batches", c_int64),
        ("heads", c_int64),
        ("positions", c_int64),
        ("features", c_int64),
        ("scale", c_double),
        ("child", c_int64),
        ("batch", c_int64),
        ("head", c_int64),
        ("position", c_int64),
        ("out_child", c_int64),
        ("out_batch", c_int64),
        ("out_head", c_int64),
        ("out_position", c_int64),
        ("by_child", c_int64),
        ("by_batch", c_int64),
        ("by_head", c_int64),
        ("by_position", c_int64),
        ("q", c_void_p),
        ("k", c_void_p),
        ("v", c_void_p),
        ("out", c_void_p),
        ("shares", c_void_p),
        ("gradient", c_void_p),
        ("by_q", c_void_p),
        ("by_k", c_void_p),
        ("by_v", c_void_p),
    ]


class CDecisions(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("threads", c_int32),
        ("children", c_int64),
        ("rows", c_int64),
        ("classes", c_int64),
        ("ignored", c_int64),
        ("x", c_void_p),
        ("logarithms", c_void_p),
        ("targets", c_void_p),
        ("loss", c_void_p),
        ("gradient", c_void_p),
        ("scale", c_double),
    ]


class CWindows(Structure):
    _fields_ = [
        ("dtype", c_int32),
        ("backward", c_int32),
        ("planes", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("tall", c_int64),
        ("wide", c_int64),
        ("from_", c_void_p),
        ("to", c_void_p),
        ("channels", c_int64),
        ("large_last", c_int32),
        ("small_last", c_int32),
    ]
