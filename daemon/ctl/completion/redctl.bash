# bash completion of redctl: asks redctl itself what may stand at the cursor.
_redctl()
{
	local cur words cword line
	local -a found
	_get_comp_words_by_ref -n := cur words cword 2>/dev/null || return
	mapfile -t found < <(redctl __complete "${words[@]:1:cword}" 2>/dev/null)
	COMPREPLY=()
	for line in "${found[@]}"; do
		if [[ $line == :files ]]; then
			compopt -o filenames 2>/dev/null
			mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
		else
			COMPREPLY+=("${line%%$'\t'*}")
		fi
	done
	__ltrim_colon_completions "$cur"
}
complete -F _redctl redctl
