"""German-to-English translation, or any other pair: pretrain, fine-tune, score SacreBLEU."""
