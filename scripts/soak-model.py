"""Writes a tiny random Qwen3 model, its tokenizer and a chat template into a folder. It speaks noise, and stops."""

import re
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CONTEXT = 8192
VOCABULARY = 512
PAD, BEGIN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# What the tokenizer learns its words from, so that prompts have about as many tokens as with a real one.
TEXTS = Path("config/prompts")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# After a word, the end is this much likelier than any other token (as a logarithm), and so is the end of a string: a
# text has some dozens of tokens, and JSON closes what it opens. Elsewhere it is as much less likely: none is empty.
STOP = 2.5
STRONG = 8.0


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level: whatever is sent has tokens, and whatever is sampled is text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train([str(path) for path in sorted(TEXTS.glob("*.md"))], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, model_max_length=CONTEXT
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    torch.manual_seed(7)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    teach_to_stop(model, tokenizer)
    return model.to(torch.bfloat16)


@torch.no_grad()
def teach_to_stop(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """One dimension says whether the last token was a word; the rest is noise."""
    vocabulary = tokenizer.get_vocab()
    word = [number for text, number in vocabulary.items() if re.fullmatch("Ġ?[A-Za-z]+", text)]
    said, heard = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    said[:, 0] = -STRONG
    said[word, 0] = STRONG
    heard[:, 0] = 0.0
    # The final norm makes the strong dimension the square root of their number.
    favour = STOP / model.config.hidden_size**0.5
    heard[[tokenizer.eos_token_id, vocabulary['"']], 0] = favour


def main(folder: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    make_model(tokenizer).save_pretrained(folder)


main(Path(sys.argv[1]))
