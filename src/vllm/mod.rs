//! Model servers that speak the OpenAI-compatible protocol, such as vLLM.
