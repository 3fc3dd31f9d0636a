#compdef redctl
# zsh completion of redctl: asks redctl itself what may stand at the cursor.
_redctl()
{
	local -a found candidates
	local line
	found=("${(@f)$(redctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	for line in $found; do
		if [[ $line == :files ]]; then
			_files
		elif [[ $line == *$'\t'* ]]; then
			candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
		else
			candidates+=("${line//:/\\:}")
		fi
	done
	(( $#candidates )) && _describe -V redctl candidates
}
_redctl "$@"
