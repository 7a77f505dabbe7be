# An equal budget: every explainer may spend the same number of model rows per sample.
xai-bench run -m data=wine budget=64,512 'explainer=[kernel_shap,permutation_shapley,lime,random]' \
    'metric=[abpc,surrogate_r2,forward_rows]' study=equal_budget

# What more rows buy, as curves, from one run per explainer.
xai-bench run data=wine 'anytime=[32,128,512]' 'explainer=[kernel_shap,permutation_shapley,random]' \
    'metric=[abpc,surrogate_r2,forward_rows]' study=curves
